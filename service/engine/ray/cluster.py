"""Connecting to a Ray cluster, or starting one, and deploying the workers on it. Everything here blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from service import __version__
from service.engine.ray.replica import Replica
from service.settings import Settings
from service.worker.config import WorkerConfig

#: Of the Ray Serve application.
APPLICATION = "pellucid"
#: Of the Ray namespace that the application and the lock of its deployment are in.
NAMESPACE = "pellucid"
#: Ray asks each replica how it is so often, and replaces one that does not answer for so long.
HEALTH_SECONDS, HEALTH_TIMEOUT_SECONDS = 5.0, 15.0
#: Of a replica's slots, how many may be taken before another replica is started: a start takes longer than the rest of
#: the slots lasts under a rising load.
TARGET_LOAD = 0.75


@dataclass(frozen=True)
class Deployment:
    """What is asked of the cluster.

    Attributes:
        config: JSON of the replicas' `WorkerConfig`.
        hang_seconds, drain_seconds: see `service.settings.Settings`.
        jobs_at_once: tickets that one replica works on.
        cpus, gpus: of each replica, as Ray counts them; may be fractions.
        replicas, max_replicas: how many; between them their number follows the load.
    """

    config: str
    hang_seconds: float
    drain_seconds: float
    jobs_at_once: int
    cpus: float
    gpus: float
    replicas: int
    max_replicas: int

    @classmethod
    def of(cls, settings: Settings, blob_url: str, gpus: float, loader: str = "") -> Deployment:
        """What the settings ask for, with `gpus` of each replica (0: it works on a CPU).

        Args:
            settings: of the server, or of whoever else deploys.
            blob_url: what the replicas open.
            gpus: see `gpus_of`.
            loader: see `WorkerConfig.loader`; for tests.
        """
        config = WorkerConfig.of(settings, "cuda:0" if gpus else "cpu", blob_url, loader)
        return cls(
            config=json.dumps(config.to_json()), hang_seconds=settings.hang_seconds,
            drain_seconds=settings.drain_seconds, jobs_at_once=settings.jobs_at_once, cpus=settings.ray_cpus, gpus=gpus,
            replicas=settings.ray_replicas, max_replicas=max(settings.ray_replicas, settings.ray_max_replicas or 0),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The deployment's name, the same for all servers of one version with the same settings."""
        described = json.dumps([__version__, asdict(self)], sort_keys=True)
        return f"worker-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class State:
    """How the deployment is.

    Attributes:
        running: replicas that take tickets.
        starting: replicas that do not yet.
        failed: the cluster does not get the replicas to work.
        message: of Ray, for the log.
    """

    running: int = 0
    starting: int = 0
    failed: bool = False
    message: str = ""


class NotDeployedError(Exception):
    """The workers are not on the cluster, and others are to bring them there."""


def connect(address: str | None) -> None:
    """Connect this process to a cluster.

    Args:
        address: "auto" or HOST:PORT of a cluster that this machine belongs to; None starts one on this machine, which
            ends with this process.

    Raises:
        ConnectionError: there is no cluster.
    """
    common: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "configure_logging": False}
    if address is None:
        ray.init("local", include_dashboard=False, **common)
    else:
        ray.init(address, **common)


def disconnect(*, own: bool) -> None:
    """Leave the cluster; end it if it is this process's own."""
    if own:
        serve.shutdown()
    ray.shutdown()


def gpus_of(settings: Settings) -> float:
    """GPUs of each replica; none on a cluster that has none, unless the settings name one."""
    if settings.devices == "cpu" or (settings.devices == "auto" and not has_gpus()):
        return 0.0
    return settings.ray_gpus


def has_gpus() -> bool:
    """Whether any machine of the cluster has a GPU."""
    return float(ray.cluster_resources().get("GPU", 0.0)) > 0.0


def deploy(deployment: Deployment) -> DeploymentHandle[Any]:
    """The handle of the deployment, which is made if it is not there; returns before its replicas are ready.

    A deployment of other settings, or of another version, is replaced: its tickets finish first, up to the drain time,
    and its servers have no workers from then on.
    """
    with _one_at_a_time(deployment.name):
        if not _deployed(deployment.name):
            serve.start(proxy_location="Disabled")
            target = serve.RunTarget(bound(deployment), name=APPLICATION, route_prefix=None)
            serve.run_many([target], wait_for_applications_running=False)
    return _handle()


def found(deployment: Deployment) -> DeploymentHandle[Any]:
    """The handle of the deployment that somebody else has made.

    Raises:
        NotDeployedError: nobody has, or it is of another version or of other settings.
    """
    if not _deployed(deployment.name):
        others = ", ".join(_deployments())
        raise NotDeployedError(
            f"the deployment {deployment.name} is not on the cluster"
            + (f", but {others}: of another version, or of other settings" if others else " yet")
        )
    return _handle()


def _deployed(name: str) -> bool:
    return name in _deployments()


def _deployments() -> list[str]:
    application = serve.status().applications.get(APPLICATION)
    return [] if application is None else sorted(application.deployments)


def _handle() -> DeploymentHandle[Any]:
    return serve.get_app_handle(APPLICATION).options(method_name="run", stream=True)


def bound(deployment: Deployment) -> serve.Application:
    """The deployment as Ray Serve takes it."""
    scaling: dict[str, Any] = {"num_replicas": deployment.replicas}
    if deployment.max_replicas > deployment.replicas:
        scaling = {
            "autoscaling_config": {
                "min_replicas": deployment.replicas,
                "max_replicas": deployment.max_replicas,
                "target_ongoing_requests": max(1.0, TARGET_LOAD * deployment.jobs_at_once),
            }
        }
    decorated = serve.deployment(
        name=deployment.name,
        max_ongoing_requests=deployment.jobs_at_once,
        # Of one server: as many as there may be slots, because a ticket that is being handed to a free slot counts.
        max_queued_requests=deployment.jobs_at_once * deployment.max_replicas,
        ray_actor_options={"num_cpus": deployment.cpus, "num_gpus": deployment.gpus},
        health_check_period_s=HEALTH_SECONDS,
        health_check_timeout_s=HEALTH_TIMEOUT_SECONDS,
        graceful_shutdown_timeout_s=deployment.drain_seconds,
        **scaling,
    )(Replica)
    application: serve.Application = decorated.bind(deployment.config, deployment.hang_seconds)
    return application


def state(name: str) -> State:
    """How a deployment is."""
    application = serve.status().applications.get(APPLICATION)
    deployed = None if application is None else application.deployments.get(name)
    if application is None or deployed is None:
        return State(failed=application is not None, message="another server has deployed other workers")
    running = deployed.replica_states.get("RUNNING", 0)
    failed = not running and "FAILED" in str(application.status)
    return State(
        running, sum(deployed.replica_states.values()) - running, failed, deployed.message or application.message
    )


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Servers that start together deploy one after the other: who holds the named actor may."""
    import time

    lock: Any = None
    while lock is None:
        try:
            lock = ray.remote(_Lock).options(name=f"deploying {name}", namespace=NAMESPACE, num_cpus=0).remote()
        except ValueError:  # it is another's, and goes when that is done, or dies
            time.sleep(0.2)
    try:
        yield
    finally:
        ray.kill(lock)


class _Lock:
    """An actor whose name can be taken once."""
