"""Restore several pictures at the same time, telling how far each has come.

python restore_async.py restored/ first.png second.png
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from pellucid_client import AsyncClient, Event, ProgressEvent


async def restore(client: AsyncClient, source: Path, folder: Path) -> None:
    """Restore one picture into a folder."""

    def tell(event: Event) -> None:
        if isinstance(event, ProgressEvent):
            left = f", {event.eta_s:.0f} s left" if event.eta_s is not None else ""
            print(f"{source.name}: step {event.step} of {event.steps}{left}")

    image = await client.denoise(source, fidelity=0.5, on_event=tell)
    image.save(folder / source.name)
    print(f"{source.name}: done, seed {image.seed}, {sum(image.timings.values()):.2f} s on the server")


async def main() -> None:
    """Restore what the command line names."""
    parser = argparse.ArgumentParser(description="Denoise several pictures on a server at the same time.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    async with AsyncClient() as client, asyncio.TaskGroup() as group:
        # Whatever ends this program early, an error or Ctrl-C, cancels the jobs of all of them.
        for source in arguments.images:
            group.create_task(restore(client, source, arguments.folder))


if __name__ == "__main__":
    asyncio.run(main())
