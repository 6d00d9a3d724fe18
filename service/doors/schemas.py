"""What the doors take and give, in the words of those whose interfaces they are."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.http.openapi import EXAMPLE_PICTURE
from service.schemas.base import Answered


class ExtrasRequest(BaseModel):
    """One picture to enlarge. Fields that are not described are ignored, as they are there."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    image: str = Field(min_length=1, examples=[EXAMPLE_PICTURE], json_schema_extra={"format": "picture"})
    """The file in base64, perhaps behind `data:image/png;base64,`; or its URL, where the server fetches URLs."""
    upscaler_1: str = Field("None", examples=["Pellucid"])
    """One of `GET /sdapi/v1/upscalers`; "None" asks for nothing and is refused."""
    resize_mode: Literal[0, 1] = 0
    """0: enlarge by `upscaling_resize`; 1: to `upscaling_resize_w` x `upscaling_resize_h`."""
    upscaling_resize: float = Field(2.0, gt=0.0)
    """How many times; above 1, at most 8."""
    upscaling_resize_w: int = Field(512, ge=1)
    """Width in pixels."""
    upscaling_resize_h: int = Field(512, ge=1)
    """Height in pixels."""
    upscaling_crop: bool = True
    """With `resize_mode` 1: cut off what sticks out of the wanted size."""
    upscaler_2: str = "None"
    """A second one to blend with; only "None" is taken where it would be seen."""
    extras_upscaler_2_visibility: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the second one."""
    gfpgan_visibility: float = Field(0.0, ge=0.0, le=1.0)
    """Only 0 is taken: there is no GFPGAN here."""
    codeformer_visibility: float = Field(0.0, ge=0.0, le=1.0)
    """Only 0 is taken: there is no CodeFormer here."""
    codeformer_weight: float = Field(0.0, ge=0.0, le=1.0)
    """Without a meaning while `codeformer_visibility` is 0."""
    upscale_first: bool = False
    """Whether before the faces; without a meaning here."""
    show_extras_results: bool = True
    """Without a meaning: the picture is always answered."""


class ExtrasAnswer(Answered):
    """The enlarged picture."""

    html_info: str
    """How it came about, in HTML."""
    image: str = Field(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})
    """The PNG file in base64."""


class Upscaler(Answered):
    """What enlarges."""

    name: str = Field(examples=["Pellucid"])
    """For `upscaler_1`."""
    model_name: str | None
    """The prior."""
    model_path: str | None
    """Always null: where it lies is the server's affair."""
    model_url: str | None
    """Always null."""
    scale: float
    """The largest enlargement."""


class Scripts(Answered):
    """Scripts that the interface would offer: none."""

    txt2img: list[str]
    """None."""
    img2img: list[str]
    """None."""


class FaceRestorer(Answered):
    """What restores faces; there is none."""

    name: str
    """Its name."""
    cmd_dir: str | None
    """Where it lies."""


class ServerMetadata(Answered):
    """What the Open Inference Protocol wants to know of a server."""

    name: Literal["pellucid"] = "pellucid"
    """Of the server."""
    version: str
    """Of the server."""
    extensions: list[str]
    """Of the protocol: none."""


class Tensor(Answered):
    """An input or an output of a model."""

    name: str
    """Its name."""
    datatype: str
    """Of its elements."""
    shape: list[int]
    """-1 for what varies."""


class ModelMetadata(Answered):
    """What the Open Inference Protocol wants to know of a model."""

    name: str
    """Of the prior."""
    platform: Literal["pellucid"] = "pellucid"
    """What runs it."""
    inputs: list[Tensor]
    """None: pictures go to `POST /v1/restore`, there is no `infer` here."""
    outputs: list[Tensor]
    """None, likewise."""


class ModelReady(Answered):
    """The model can be used."""

    name: str
    """Of the prior."""
    ready: Literal[True] = True
    """503 otherwise."""
