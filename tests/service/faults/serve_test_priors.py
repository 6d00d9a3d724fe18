"""`pellucid serve` whose workers load the priors of tests/service/worker/priors_for_tests.py; settings from the
environment. With "uvicorn PORT" as arguments, the same by the command `uvicorn service.app:app`."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import uvicorn

from service.cli.serve import read_settings, run
from service.engine import local
from service.http import restore

LOADER = f"{Path(__file__).parents[1] / 'worker' / 'priors_for_tests.py'}:load"


def main() -> None:
    """Serve until told to stop."""
    local.LocalEngine.__init__ = functools.partialmethod(local.LocalEngine.__init__, loader=LOADER)  # type: ignore[assignment]
    restore.check_prior = lambda parameters, settings: None
    if sys.argv[1:2] == ["uvicorn"]:
        print(f"pellucid serves at http://127.0.0.1:{sys.argv[2]}", file=sys.stderr)
        uvicorn.main(["service.app:app", "--port", sys.argv[2], "--log-level", "warning"])
    else:
        run(read_settings({}))


if __name__ == "__main__":
    main()
