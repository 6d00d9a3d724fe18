"""The engine on a Ray cluster: the same worker processes as replicas of a Ray Serve deployment.

Placement, replacement of lost replicas and scaling over many machines are Ray's. What crosses the cluster is JSON text:
tickets one way, events the other, never pixels.
"""

from service.engine.ray.engine import RayEngine, create_engine

__all__ = ["RayEngine", "create_engine"]
