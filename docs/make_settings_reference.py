"""Write docs/settings.md: every setting of the server, from the class that reads them.

python docs/make_settings_reference.py
"""

from __future__ import annotations

import inspect
import re
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.settings import Settings

TARGET = Path(__file__).with_name("settings.md")
HEAD = """\
# Settings

Made by docs/make_settings_reference.py from `service/settings.py`; do not edit. Every setting is a variable of the
environment, read and checked when the server starts; a wrong value ends it with the variable's name. `pellucid serve`
takes some of them as options, which win.
"""
#: Bounds of pydantic, as they are written.
SIGNS = {"Ge": "at least", "Gt": "above", "Le": "at most", "Lt": "below"}


def render() -> str:
    """The document."""
    lines = [HEAD]
    groups = group_names()
    for name, field in Settings.model_fields.items():
        if name in groups:
            lines += ["", f"## {groups[name]}", "", "| variable | default | values | meaning |", "|---|---|---|---|"]
        cells = (f"`PELLUCID_{name.upper()}`", default(field), values(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def group_names() -> dict[str, str]:
    """First setting of a group -> its heading: the comments of the class, each before its settings."""
    found: dict[str, str] = {}
    heading = None
    for line in inspect.getsource(Settings).splitlines():
        if comment := re.fullmatch(r"    # (.+)\.", line):
            heading = comment[1]
        elif heading and (field := re.match(r"    (\w+): ", line)):
            found[field[1]] = heading
            heading = None
    return found


def default(field: FieldInfo) -> str:
    """In words."""
    if field.default_factory is not None:
        return "the user's data folder"
    value = field.get_default()
    assert value is not PydanticUndefined
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value >= 2**20 and value % 2**20 == 0:
        return f"{value} ({value >> 20} MiB)"
    return f"{value:g}" if isinstance(value, float) else str(value.value if isinstance(value, Enum) else value)


def values(field: FieldInfo) -> str:
    """What is taken."""
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    words = {bool: "true, false", int: "whole number", float: "number", Path: "path"}
    told = words.get(kinds[0], "text")
    bounds = [f"{SIGNS[type(each).__name__]} {bound(each)}" for each in field.metadata if type(each).__name__ in SIGNS]
    return ", ".join([told, *bounds])


def bound(constraint: Any) -> str:
    """The value of one of annotated_types' limits: `Ge` holds it as `ge`, and so on."""
    value = getattr(constraint, type(constraint).__name__.lower())
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    TARGET.write_text(render())
