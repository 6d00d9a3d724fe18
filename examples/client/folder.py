"""Restore a folder of pictures, so many at a time. Started again, it goes on where it was.

python folder.py photographs/ restored/ --concurrency 4
"""

from __future__ import annotations

import argparse
import sys

from pellucid_client import Client, FolderProgress


def tell(progress: FolderProgress) -> None:
    """Print a line a picture."""
    print(f"{progress.done}/{progress.total} {progress.item.source}: {progress.item.state}")


def main() -> int:
    """Restore what the command line names; the number of pictures that failed, 100 at most."""
    parser = argparse.ArgumentParser(description="Restore every picture in a folder on a server.")
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--concurrency", type=int, default=4, help="pictures at a time")
    arguments = parser.parse_args()
    with Client() as client:
        result = client.restore_folder(
            arguments.source, arguments.target, concurrency=arguments.concurrency, on_progress=tell
        )
    for item in result.failed:
        print(f"{item.source}: {item.error}", file=sys.stderr)
    return min(len(result.failed), 100)


if __name__ == "__main__":
    sys.exit(main())
