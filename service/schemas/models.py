"""Priors, as facts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from service.schemas.base import Answered, Given


class PullRequest(Given):
    """A prior to fetch."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$", examples=["ddpm-cifar10-32"])
    """Of the catalogue (GET /v1/models?known=true), or of one that is here and was not measured."""
    measure: bool = True
    """Test it on photographs and measure its error at each noise level, by which restorations weigh it."""


class Model(Answered):
    """A prior that jobs can name."""

    name: str = Field(examples=["photo"])
    """For the field `prior`."""
    kind: str
    """prior or adapter."""
    family: str
    """The network's class."""
    tasks: list[str]
    """What it serves."""
    licence: dict[str, str]
    """SPDX names for code and weights."""
    digest: str
    """sha256 of the weights; empty while nobody knows it."""
    state: Literal["installed", "available", "pulling", "measuring", "failed"]
    """available: known, but not on this server; measuring: installed, and being measured; failed: the last attempt to
    fetch it."""
    size: int | None = Field(ge=0)
    """Bytes of all its files; null while unknown."""
    received: int | None = Field(ge=0)
    """Bytes of the present file that have arrived, of a prior that is being pulled."""
    measured: bool
    """Whether it was tested and its error measured, where that matters; otherwise one is assumed, and answers warn."""
    measuring: float | None = Field(ge=0.0, le=1.0)
    """How much of the measuring is done."""
    error: str | None
    """Why it could not be fetched, or measured: a code; the server's log says more."""
    parameters: int = Field(ge=0)
    """Number of weights."""
    runtime: str
    """What runs it on this server."""
    default: bool
    """Whether it is used when a request names none."""
    loaded: bool
    """Whether a ready worker holds it."""
    sigma_min: float
    """Smallest noise level it was trained on, 0-255 scale."""
    sigma_max: float
    """Largest noise level it was trained on, 0-255 scale."""
    citation: str
    """How to cite it."""
    scores: dict[str, JsonValue]
    """Measurements."""


class ModelList(Answered):
    """The priors asked for."""

    data: list[Model]
    """By name."""
