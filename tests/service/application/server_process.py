"""A server without HTTP, in a process of its own, to be killed: python server_process.py FOLDER [ENGINE].

ENGINE "local" runs real restorations; "script" runs what the parameters say. Prints a line once it has started.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from service.application import RestorationService, blob_url
from service.blobs import FsspecBlobStore
from service.engine.protocol import Engine
from service.settings import Settings


async def serve(folder: Path, kind: str) -> None:
    settings = Settings(data_dir=folder, devices="cpu", threads=1, tile=64)
    blobs = FsspecBlobStore(blob_url(settings))
    engine: Engine | None = None
    if kind == "script":
        sys.path.insert(0, str(Path(__file__).parent))
        from in_process_engine import InProcessEngine

        engine = InProcessEngine(blobs, 2)
    service = RestorationService(settings, engine, blobs=blobs)
    await service.start()
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
