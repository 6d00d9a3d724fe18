"""`pellucid serve` whose workers load the priors of tests/service/worker/priors_for_tests.py; settings from the
environment."""

from __future__ import annotations

import functools
from pathlib import Path

from service.cli.serve import read_settings, run
from service.engine import local
from service.http import restore

LOADER = f"{Path(__file__).parents[1] / 'worker' / 'priors_for_tests.py'}:load"


def main() -> None:
    """Serve until told to stop."""
    local.LocalEngine.__init__ = functools.partialmethod(local.LocalEngine.__init__, loader=LOADER)  # type: ignore[assignment]
    restore.check_prior = lambda parameters, settings: None
    run(read_settings({}))


if __name__ == "__main__":
    main()
