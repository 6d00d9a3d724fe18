"""`pellucid` with the priors of the conformance suite: python server.py serve ..."""

from __future__ import annotations

import functools
from pathlib import Path

LOADER = f"{Path(__file__).with_name('priors.py')}:load"

if __name__ == "__main__":
    from service.cli.main import main
    from service.engine import local
    from service.engine.ray import engine as ray
    from service.http import restore

    local.LocalEngine = functools.partial(local.LocalEngine, loader=LOADER)  # type: ignore[assignment,misc]
    ray.RayEngine = functools.partial(ray.RayEngine, loader=LOADER)  # type: ignore[assignment,misc]
    restore.check_prior = lambda parameters, settings: None  # they are in no registry
    main()
