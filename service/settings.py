"""Settings of the server, read from the environment with the prefix PELLUCID_ and validated at start."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from platformdirs import user_data_path
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.runtime import check_runtime
from restore.errors import RuntimeUnavailableError
from restore.images import SERVICE_LIMITS, Limits
from service.protection.addresses import networks
from service.protection.hosts import is_loopback
from service.webhooks.signing import Signer


class Settings(BaseSettings):
    """Every setting; the variable of a field is its name in capitals after PELLUCID_.

    Raises:
        pydantic.ValidationError: a value is out of range; `service.cli.serve` words it with the variable's name.
    """

    model_config = SettingsConfigDict(env_prefix="PELLUCID_", extra="forbid", frozen=True, hide_input_in_errors=True)

    # Where the server listens and what it keeps.
    host: str = Field("127.0.0.1", description="address to listen at; 0.0.0.0 for all")
    port: int = Field(8000, ge=0, le=65535, description="0 for any free one")
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("pellucid"),
        description="database and pictures, unless they lie elsewhere",
    )
    database_url: str | None = Field(None, description="SQLAlchemy URL; SQLite in data_dir when not set")
    blob_url: str | None = Field(None, description="fsspec URL; files in data_dir when not set")

    # Engine.
    engine: Literal["local", "ray"] = Field("local", description="where restorations run: on this machine, or on Ray")
    devices: str = Field("auto", description='"auto", or a comma-separated list such as "cuda:0,cuda:1" or "cpu"')
    prior: str | None = Field(None, description="name of the default prior; the embedded one when not set")
    runtime: str = Field(
        "auto",
        description="what runs the priors, such as openvino:bf16; auto: the fastest that `pellucid models bench` found",
    )
    bench: bool = Field(
        False,
        description="whether a worker that does not know yet which runtime is the fastest for its default prior finds "
        "out before it is ready, half a minute once a machine; with the runtime auto",
    )
    prior_memory: int | None = Field(
        None, ge=0, description="bytes that the loaded priors of a worker may take; half of its memory when not set"
    )
    max_batch: int = Field(8, ge=1, le=256, description="tiles in one denoiser call")
    tile: int | None = Field(None, ge=64, le=4096, description="side of a tile; the prior's own when not set")
    threads: int | None = Field(None, ge=1, description="of one CPU worker; all cores when not set")
    jobs_at_once: int = Field(16, ge=1, le=1024, description="jobs whose samplers one worker drives at the same time")

    # Engine "ray".
    ray_address: str | None = Field(
        None,
        pattern=r"^(auto|[^/]+:\d+)$",
        description='"auto" or HOST:PORT of the cluster that this machine belongs to; one is started when not set',
    )
    ray_deploys: bool = Field(
        True, description="whether the server brings the workers onto the cluster; off where a RayService does"
    )
    ray_replicas: int = Field(1, ge=1, description="workers on the cluster")
    ray_max_replicas: int | None = Field(
        None, ge=1, description="their number follows the load up to this; fixed when not set"
    )
    ray_gpus: float = Field(1.0, gt=0.0, description="GPUs of one replica; a fraction lets several share one")
    ray_cpus: float = Field(1.0, gt=0.0, description="CPUs of one replica, and threads of one on a CPU")

    # Jobs.
    lease_seconds: float = Field(30.0, gt=1.0, description="how long a worker owns a job without renewing it")
    max_attempts: int = Field(2, ge=1, description="a job that kills its worker so often is failed")
    hang_seconds: float = Field(120.0, gt=0.0, description="a worker silent for so long while it has work is replaced")
    retention_seconds: float = Field(3600.0, gt=0.0, description="how long results are kept")
    upload_seconds: float = Field(3600.0, gt=0.0, description="how long uploads may be used")
    drain_seconds: float = Field(60.0, ge=0.0, description="how long running jobs may finish after SIGTERM")

    # Protection.
    api_keys_file: Path | None = Field(None, description="hashed keys and their scopes; see docs/operations.md")
    auth: Literal["auto", "required", "off"] = Field(
        "auto", description="auto: off on a loopback address, required elsewhere"
    )
    allowed_hosts: str = Field("", description="comma-separated Host names taken besides the loopback ones")
    allowed_origins: str = Field("", description="comma-separated origins that browsers may call from (CORS)")
    max_queue: int = Field(256, ge=1, description="jobs waiting; more are answered 503")
    requests_per_minute: int = Field(600, ge=1, description="of one key")
    jobs_per_key: int = Field(64, ge=1, description="jobs of one key queued or running at the same time")
    max_bytes: int = Field(SERVICE_LIMITS.max_bytes, ge=1, description="of one request's body")
    max_pixels: int = Field(SERVICE_LIMITS.max_pixels, ge=4, description="of a given picture")
    max_output_pixels: int = Field(SERVICE_LIMITS.max_output_pixels, ge=4, description="of a restored picture")
    max_side: int = Field(SERVICE_LIMITS.max_side, ge=2, description="longest side of a picture")
    max_work: float = Field(4000.0, gt=0.0, description="output megapixels times denoiser calls of one job")
    receive_seconds: float = Field(60.0, gt=0.0, description="until a request's headers and body must be there")
    idle_seconds: float = Field(15.0, gt=0.0, description="longest silence while a request is received")
    sync_seconds: float = Field(600.0, gt=0.0, description="longest a synchronous request waits before 202")
    decode_seconds: float = Field(
        10.0, gt=0.0, description="of the processor, longest a picture may take to decode; 4 times by the clock"
    )
    decode_memory: int = Field(4 * 2**30, ge=2**28, description="bytes that decoding one picture may use")
    url_sources: bool = Field(False, description="whether pictures may be given by URL")
    allowed_addresses: str = Field(
        "", description="comma-separated networks that URL sources and webhooks may reach although they are not public"
    )
    offline: bool = Field(False, description="no outside connection is opened, whatever is asked")
    webhook_secret: SecretStr | None = Field(
        None, description="whsec_... that signs webhooks, several with spaces between; none are sent without"
    )

    # Observability.
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least that is logged")
    log_format: Literal["json", "text"] = Field("json", description="json: one object a line, with request and job ids")
    metrics: bool = Field(True, description="whether GET /metrics answers")

    @field_validator("runtime")
    @classmethod
    def _known_runtime(cls, text: str) -> str:
        try:
            check_runtime(text)
        except RuntimeUnavailableError as error:
            raise ValueError(str(error)) from None
        return text

    @field_validator("allowed_addresses")
    @classmethod
    def _networks(cls, text: str) -> str:
        networks(text)
        return text

    @field_validator("webhook_secret")
    @classmethod
    def _secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            Signer(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.keys_required and self.api_keys_file is None:
            raise ValueError(
                "API keys are required when listening at an address that others reach: make some with "
                "`pellucid keys new FILE` and set PELLUCID_API_KEYS_FILE=FILE, or set PELLUCID_AUTH=off"
            )
        return self

    @property
    def keys_required(self) -> bool:
        """Whether every request needs an API key."""
        return self.auth == "required" or (self.auth == "auto" and not is_loopback(self.host))

    @property
    def limits(self) -> Limits:
        """The picture limits, as the core takes them."""
        return Limits(self.max_pixels, self.max_output_pixels, self.max_side, self.max_bytes)
