"""The workers as a Ray Serve application that somebody else deploys: a RayService, or `serve run`.

The servers run with PELLUCID_RAY_DEPLOYS=off then and find it by the name that its version and settings make, so both
must have the same.

    serve run --name pellucid --route-prefix / service.engine.ray.application:build
"""

from __future__ import annotations

from typing import Any

from ray import serve

from service.engine.ray.cluster import Deployment, bound, gpus_of
from service.settings import Settings


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application.

    Args:
        arguments: settings as `service.settings.Settings` names them; those that are not given come from the
            environment.

    Raises:
        ValueError: no `blob_url`: replicas on other machines cannot open a folder of this one. Or a setting is
            impossible (pydantic's ValidationError).
    """
    settings = Settings(**{"host": "127.0.0.1", **arguments})  # nobody listens here, whatever the image's default is
    if settings.blob_url is None:
        raise ValueError("PELLUCID_BLOB_URL is not set: the workers need one place for pictures that all machines open")
    return bound(Deployment.of(settings, settings.blob_url, gpus_of(settings)))
