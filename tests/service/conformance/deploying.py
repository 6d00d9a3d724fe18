"""Deploys the workers as a RayService does: python deploying.py ADDRESS SETTINGS_AS_JSON."""

from __future__ import annotations

import functools
import json
import sys

import ray
from ray import serve

from service.engine.ray import application
from service.engine.ray.cluster import APPLICATION, NAMESPACE, Deployment
from tests.service.conformance.server import LOADER

if __name__ == "__main__":
    Deployment.of = functools.partial(Deployment.of, loader=LOADER)  # type: ignore[method-assign]
    ray.init(sys.argv[1], namespace=NAMESPACE)
    serve.run(application.build(json.loads(sys.argv[2])), name=APPLICATION, route_prefix=None)
