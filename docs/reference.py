"""Writes the generated part of docs/api.md from the OpenAPI document: python docs/reference.py [--check]."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.app import create_app
from service.http.errors import MEANING
from service.problems import STATUS, Code
from service.schemas.parameters import PARAMETERS
from service.settings import Settings

PAGE = Path(__file__).parent / "api.md"
MARK = "<!-- From here on written by docs/reference.py; change the code and run it. -->"
#: Schemas whose fields are listed: what answers hold.
SHOWN = ("JobResource", "JobPage", "UploadResource", "Model", "Ready", "Device", "ProblemDetails")
Schema = dict[str, Any]


def reference(document: Schema) -> str:
    """The generated part, as Markdown."""
    parts = [*_tasks(document), *_operations(document), *_answers(document), *_codes()]
    return "\n\n".join(parts) + "\n"


def _tasks(document: Schema) -> Iterator[str]:
    """The parameters of tasks: what all take, and what each adds."""
    schemas = document["components"]["schemas"]
    of = {task: schemas[f"{model.__name__}Request"] for task, model in PARAMETERS.items()}
    shared = set.intersection(*(set(schema["properties"]) for schema in of.values())) - {"image", "task"}
    yield "## Parameters"
    yield "Form fields, query parameters or JSON members of these names. Every task takes:"
    yield _fields(of["auto"], shared)
    yield "Besides, by task (the facade `POST /v1/TASK`, or `task=TASK` at `POST /restore`):"
    rows = []
    for task, schema in of.items():
        for name in schema["properties"]:
            if name not in shared and name not in ("image", "task"):
                rows.append([f"`{task}`", *_row(name, schema["properties"][name], schema)])
        if not set(schema["properties"]) - shared - {"image", "task"}:
            rows.append([f"`{task}`", "-", "", "", "nothing more"])
    yield _table(["task", "field", "type", "default", "meaning"], rows)


def _operations(document: Schema) -> Iterator[str]:
    yield "## Operations"
    facades = {f"/v1/{task}" for task in PARAMETERS} | {"/v1/restore"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path in facades:
                continue
            yield f"### {method.upper()} {path}"
            yield f"{operation['summary'].rstrip('.')}. {_line(operation.get('description', ''))}".strip()
            own = [p for p in operation.get("parameters", ()) if path != "/restore" or p["in"] != "query"]
            if own:
                yield _table(
                    ["parameter", "in", "type", "meaning"],
                    [[f"`{p['name']}`", p["in"], _type(p["schema"]), _line(p.get("description", ""))] for p in own],
                )
            if "requestBody" in operation:
                yield "Body: " + ", ".join(f"`{media}`" for media in operation["requestBody"]["content"]) + "."
            yield _table(["status", "content", "headers"], _statuses(operation))
    yield "`/v1/restore` is `/restore`; a facade `POST /v1/TASK` is the same with the task in its path: " + ", ".join(
        f"`/v1/{task}`" for task in PARAMETERS if f"/v1/{task}" in document["paths"]
    ) + "."  # fmt: skip


def _statuses(operation: Schema) -> list[list[str]]:
    """Answers that are no errors one by one; errors, whose form is always the same, in one row."""
    rows, errors = [], []
    for status, answer in operation["responses"].items():
        if "application/problem+json" in answer.get("content", {}):
            errors.append(status)
            continue
        content = ", ".join(f"`{media}`" for media in answer.get("content", {})) or "-"
        rows.append([status, content, ", ".join(f"`{name}`" for name in answer.get("headers", {}))])
    if errors:
        rows.append([", ".join(errors), "`application/problem+json`", "`X-Request-Id`"])
    return rows


def _answers(document: Schema) -> Iterator[str]:
    yield "## What answers hold"
    for name in SHOWN:
        schema = document["components"]["schemas"][name]
        yield f"### {name}"
        yield _line(schema.get("description", ""))
        yield _fields(schema, set(schema["properties"]), default=False)


def _codes() -> Iterator[str]:
    yield "## Problem codes"
    yield _table(["code", "status", "meaning"], [[f"`{c.value}`", str(STATUS[c]), MEANING[c]] for c in Code])


def _fields(schema: Schema, names: set[str], default: bool = True) -> str:
    rows = [_row(name, field, schema) for name, field in schema["properties"].items() if name in names]
    if default:
        return _table(["field", "type", "default", "meaning"], rows)
    return _table(["field", "type", "meaning"], [[row[0], row[1], row[3]] for row in rows])


def _row(name: str, field: Schema, schema: Schema) -> list[str]:
    needed = name in schema.get("required", ())
    default = field.get("default")
    shown = "needed" if needed else "-" if default is None else f"`{str(default).lower()}`"
    return [f"`{name}`", _type(field), shown, _line(field.get("description", ""))]


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    branches = [b for b in schema.get("anyOf", schema.get("oneOf", ())) if b.get("type") != "null"]
    if branches:
        return " or ".join(dict.fromkeys(_type(branch) for branch in branches))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low:g} to {high:g}" if high < 2**53 else f"{kind}, from {low:g}"
    return f"{kind}, from {low:g}" if low is not None else str(schema.get("format", kind))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def page() -> str:
    """The whole page: what is written by hand, and what is generated now."""
    document = create_app(Settings(auth="off", api_keys_file=None)).openapi()
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n\n" + reference(document)


def main() -> None:
    """Write the page, or fail if it is not up to date."""
    wanted = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == wanted else "docs/api.md is not up to date: python docs/reference.py")
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
