"""Restore one picture on a server, and say how it came about.

python restore.py noisy.png clean.png
"""

from __future__ import annotations

import argparse
import sys

from pellucid_client import APIConnectionError, APIStatusError, Client, JobFailedError


def main() -> int:
    """Restore what the command line names; 0 when that was possible."""
    parser = argparse.ArgumentParser(description="Find out what is wrong with a picture, and restore it on a server.")
    parser.add_argument("image")
    parser.add_argument("output")
    arguments = parser.parse_args()
    try:
        # The address and the key come from PELLUCID_SERVER and PELLUCID_API_KEY.
        with Client(timeout=300) as client:
            image = client.restore(arguments.image, seed=7)
            image.save(arguments.output)
            report = image.report()
    except APIStatusError as error:
        # `code` is stable and documented: a program can switch on it.
        print(f"refused ({error.code}): {error}", file=sys.stderr)
        return 1
    except JobFailedError as error:
        print(f"failed ({error.code}): {error}", file=sys.stderr)
        return 1
    except APIConnectionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{report.task}, {report.nfe} calls of {report.prior} in {report.seconds} s, found {report.found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
