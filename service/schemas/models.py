"""Priors, as facts."""

from __future__ import annotations

from pydantic import Field, JsonValue

from service.schemas.base import Answered


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
    """sha256 of the weights."""
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
    """All priors."""

    data: list[Model]
    """By name."""
