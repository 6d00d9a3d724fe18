"""What schemathesis cannot know of our document: pictures that are pictures, and what JSON Schema cannot say.

Positive cases are brought to what the document's words add to its schemas: query parameters go with raw bodies only, a
task takes its own fields, and the work stays small enough for a test. Negative cases are left as they come.
"""

from __future__ import annotations

import base64
import io
import uuid
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

from service.schemas.parameters import PARAMETERS

MEDIA = ("png", "jpeg", "webp", "tiff")


def _picture(format: str, size: tuple[int, int] = (8, 6)) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(stream, format.upper())
    return stream.getvalue()


PNG = _picture("png")

for _format in MEDIA:
    schemathesis.openapi.media_type(f"image/{_format}", st.just(_picture(_format)))
schemathesis.openapi.media_type("image/avif", st.just(_picture("avif")))
schemathesis.openapi.format("picture", st.just(base64.b64encode(PNG).decode()))
schemathesis.openapi.format("binary", st.just(PNG))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if case.meta is None or case.meta.generation.mode.value != "positive":
        return
    if case.path == "/v1/jobs":
        # What goes around as a cursor has a test of its own; made up ones are refused.
        case.query = {name: value for name, value in (case.query or {}).items() if name != "cursor"}
        case._record_starting_state()
    if case.path == "/sdapi/v1/extra-single-image" and isinstance(case.body, dict):
        _enlarge(case.body)
        case.headers = {
            name: value for name, value in (case.headers or {}).items() if name.lower() != "idempotency-key"
        }
        case._record_starting_state()
        return
    if case.method != "POST" or not (case.path == "/restore" or case.path.startswith("/v1/")):
        return
    headers = case.headers or {}
    for name in list(headers):
        if name.lower() == "idempotency-key":
            # Keys that come twice are for other tests.
            headers[name] = uuid.uuid4().hex
    raw = (case.media_type or "").startswith("image/")
    query = dict(case.query or {})
    if not raw:
        query.clear()
    elif "/restore" in case.path:
        _fit(query)
    _small(query)
    if isinstance(case.body, dict):
        if isinstance(case.body.get("params"), dict | str | bytes):
            # Anything may be in it, and then it says things twice.
            del case.body["params"]
        if "/restore" in case.path and not raw:
            _fit(case.body)
        _small(case.body)
    if raw and "deblur" in case.path:
        # The query has to say what other bodies say themselves.
        query["kernel"] = "gaussian:1"
    told = case.body if isinstance(case.body, dict) else query if raw else {}
    if "dejpeg" in case.path or told.get("task") == "dejpeg":
        # Our pictures show no trace of a compression that could be found.
        told["quality"] = 50
    case.query = query
    # The edited case is as valid as it was: schemathesis takes bytes in a form for a violation otherwise.
    case._record_starting_state()


def _enlarge(fields: dict[str, Any]) -> None:
    """What the words beside the schema say: an upscaler that there is, an enlargement, nothing about faces."""
    fields |= {"upscaler_1": "Pellucid", "resize_mode": 0, "upscaling_resize": 1.5}
    for name in ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility"):
        fields.pop(name, None)


def _fit(fields: dict[str, Any]) -> None:
    """Leave what the task takes."""
    task = fields.get("task", "auto")
    if task in ("inpaint", "deblur") and "image" not in fields:
        task = fields["task"] = "denoise"
    if task == "inpaint" and "mask" not in fields:
        fields["mask"] = fields["image"]
    if task == "deblur" and "kernel" not in fields:
        fields["kernel"] = "gaussian:1"
    wanted = {"image", {"inpaint": "mask", "deblur": "kernel"}.get(task, "image"), *PARAMETERS[task].model_fields}
    for name in set(fields) - wanted:
        del fields[name]


def _small(fields: dict[str, Any]) -> None:
    fields.pop("webhook", None)
    fields.pop("prior", None)
    for name, most in (("steps", 3), ("samples", 2)):
        value = fields.get(name)
        if isinstance(value, int | float) and value > most:  # 50.0 is an integer to JSON
            fields[name] = most
    if fields.get("samples") == 2:
        fields.pop("fidelity", None)
    if isinstance(fields.get("kernel"), list):
        # Rows of unequal length, or of nothing but zeros.
        fields["kernel"] = [[1, 2, 1]]
    elif isinstance(fields.get("kernel"), str):
        # A blur of no width, or wider than is taken.
        fields["kernel"] = "gaussian:1"
    for role in ("image", "mask"):
        source = fields.get(role)
        if isinstance(source, dict) and "b64" not in source:
            fields[role] = {"b64": base64.b64encode(PNG).decode()}
