"""Fields against their models, with errors that name the field and say what would be right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.problems import Code, Problem
from service.schemas.parameters import PARAMETERS, AnyParameters
from service.schemas.requests import REQUESTS, AnyRequest, RestoreRequest

#: Fields whose text is not a number, whatever it looks like.
_WORDS = frozenset({"task", "prior", "priority", "output_format", "webhook", "kernel"})
_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,3})?")
#: Parts of an error's place that name a branch of a union, not a field.
_BRANCH = re.compile(r"constrained-|literal\[|list\[|function-|^(float|int|str|bool|b64|url|upload_id)$")
_KEEP = frozenset({"b64", "url", "upload_id"})

_ANY: TypeAdapter[AnyRequest] = TypeAdapter(RestoreRequest)


def parse_json(body: bytes, task: str | None) -> AnyRequest:
    """A JSON body as the request of `task`, or of the task it names for None.

    Raises:
        Problem: MALFORMED_REQUEST, not JSON; INVALID_PARAMETER.
    """
    adapter: TypeAdapter[AnyRequest] = _ANY if task is None else TypeAdapter(REQUESTS[task])
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            reason = found[0].get("ctx", {}).get("error", "")
            raise Problem(Code.MALFORMED_REQUEST, f"the body is not JSON: {reason}") from None
        raise _invalid(found, strip=1 if task is None else 0) from None


def parse_fields(fields: Mapping[str, Any], task: str | None) -> AnyParameters:
    """Parameters from form fields or a query (strings), or from JSON members, of `task` or the one they name.

    Raises:
        Problem: INVALID_PARAMETER.
    """
    named = fields.get("task", "auto") if task is None else task
    if not isinstance(named, str) or named not in PARAMETERS:
        known = f"task is one of {', '.join(PARAMETERS)}"
        raise Problem(Code.INVALID_PARAMETER, known, errors=[{"field": "task", "message": known}])
    try:
        return PARAMETERS[named].model_validate({k: _value(k, v) for k, v in fields.items()}, strict=True)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_input=False), strip=0, task=named) from None


def _value(name: str, value: Any) -> Any:
    """What a form field's text stands for."""
    if not isinstance(value, str) or name in _WORDS:
        return value
    if value in ("true", "false"):
        return value == "true"
    if _NUMBER.fullmatch(value):
        return float(value) if set(value) & set(".eE") else int(value)
    return value


def _invalid(found: Sequence[Any], strip: int, task: str = "") -> Problem:
    errors = field_errors(found, strip)
    for error in errors:
        if error["message"] == _UNKNOWN and error["field"] in _ALL:
            error["message"] = f"{task or 'this task'} does not take it"
    first = errors[0]
    more = "" if len(errors) == 1 else f" (and {len(errors) - 1} more)"
    return Problem(Code.INVALID_PARAMETER, f"{first['field'] or 'body'}: {first['message']}{more}", errors=errors)


_UNKNOWN = "there is no such field"
_ALL = frozenset(name for model in REQUESTS.values() for name in model.model_fields)


def field_errors(found: Sequence[Any], strip: int) -> list[dict[str, str]]:
    """pydantic's errors as {"field", "message"}, one a field.

    Args:
        found: `ValidationError.errors()`.
        strip: leading parts of each place that name no field.
    """
    merged: dict[str, list[str]] = {}
    for error in found:
        place = [str(part) for part in error["loc"]][strip:]
        kept = [part for i, part in enumerate(place) if _is_field(place, i, part)]
        message = {"extra_forbidden": _UNKNOWN, "missing": "it is needed"}.get(error["type"], _lower(error["msg"]))
        words = merged.setdefault("task" if error["type"] == "task" else ".".join(kept), [])
        if message not in words:
            words.append(message)
    return [{"field": field, "message": ", or ".join(words)} for field, words in merged.items()]


def _is_field(place: list[str], index: int, part: str) -> bool:
    if part in _KEEP:
        # The tag of a source stands before its field, which may have the same name.
        return index == len(place) - 1 and index > 0 and place[index - 1] in _KEEP
    return not _BRANCH.search(part)


def _lower(message: str) -> str:
    message = message.removeprefix("Input should be ").removeprefix("Value error, ")
    return message if message[:1] in "'\"" else message[:1].lower() + message[1:]
