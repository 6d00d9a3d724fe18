"""Write docs/client-reference.md from the docstrings of pellucid_client.

python docs/make_client_reference.py
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_origin

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "client-reference.md"

#: Headings, and the names below them; what is in none of them is an error.
GROUPS: dict[str, tuple[str, ...]] = {
    "Clients": ("Client", "Jobs", "Models", "AsyncClient", "AsyncJobs", "AsyncModels"),
    "Pictures": ("ImageSource", "ImageURL", "Upload", "MaskSource", "KernelSource"),
    "Parameters": (
        "Task", "Format", "Priority", "CallOptions", "CommonOptions", "DenoiseOptions", "SuperResolveOptions",
        "LowLightOptions", "DejpegOptions", "RestoreOptions",
    ),
    "Results": ("RestoredImage", "AsyncRestoredImage", "UncertaintyMap", "EncodedImage", "Report", "Response"),
    "Jobs": ("Job", "AsyncJob", "JobInfo", "JobPage", "JobProblem", "Progress", "Picture", "Warning", "ModelInfo"),
    "Events": (
        "Event", "QueuedEvent", "StartedEvent", "ProgressEvent", "PreviewEvent", "WarningEvent", "CompletedEvent",
    ),
    "Folders": ("FolderResult", "FolderItem", "FolderProgress"),
    "Webhooks": ("Webhook", "WebhookEvent"),
}  # fmt: skip
#: What type aliases stand for, which have no docstrings.
ALIASES = {
    "ImageSource": "A picture to send: a file's path, its bytes, an open binary file, a PIL image, an array [H, W] or "
    "[H, W, C] of uint8 or uint16, an `ImageURL`, or an `Upload`.",
    "MaskSource": "The same, for a mask: bright (more than half) where the picture is to be filled in.",
    "KernelSource": 'A blur: "gaussian:SIGMA", "defocus:RADIUS" or "motion:LENGTH:ANGLE" (pixels, degrees); rows of '
    "numbers or an array with odd sides; a file that holds one (a picture, or .npy) by path or bytes.",
    "Task": "What to do.",
    "Format": "Of a result.",
    "Priority": "Of a job.",
}
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns):$")


def main() -> None:
    """Write the file."""
    sys.path.insert(0, str(ROOT / "client"))
    TARGET.write_text(reference(), encoding="utf-8")


def reference() -> str:
    """The whole document."""
    import pellucid_client

    lines = [
        "# Reference of pellucid_client",
        "",
        f"Made from the docstrings of version {pellucid_client.__version__} by `python docs/make_client_reference.py`; "
        "a [guide](client.md) comes before it.",
    ]
    errors = [name for name in pellucid_client.__all__ if _is_error(getattr(pellucid_client, name))]
    known = {name for names in GROUPS.values() for name in names} | {*errors, "__version__"}
    missing = set(pellucid_client.__all__) ^ known
    if missing:
        raise SystemExit(f"in one of __all__ and GROUPS only: {', '.join(sorted(missing))}")
    for heading, names in GROUPS.items():
        lines += ["", f"## {heading}"]
        for name in names:
            lines += ["", f"### {name}", "", *_entry(name, getattr(pellucid_client, name))]
    lines += ["", "## Errors", "", *_tree(pellucid_client)]
    for name in errors:
        lines += ["", f"### {name}", "", *_entry(name, getattr(pellucid_client, name))]
    return "\n".join(lines) + "\n"


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _tree(package: ModuleType) -> list[str]:
    """The tree of errors, as their module draws it."""
    from pellucid_client import _errors

    drawn = inspect.getdoc(_errors) or ""
    return ["```", *(line[4:] for line in drawn.splitlines() if line.startswith("    ")), "```"]


def _entry(name: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield ALIASES[name]
        if get_origin(value) is Literal:
            yield from ("", f"    {name} = {_shown(str(value))}")
        return
    if name.startswith("Async") and name != "AsyncClient":
        yield f"`{name.removeprefix('Async')}`, with methods to be awaited."
        return
    if value.__init__ is not object.__init__ and "Args:" in (inspect.getdoc(value) or "") and not _is_error(value):
        yield from (f"    {name}{_signature(value.__init__)}", "")
    yield from rendered(inspect.getdoc(value) or "")
    if name == "AsyncClient":
        return
    for method, function in _members(value):
        yield from ("", f"#### {name}.{method}", "")
        if not isinstance(function, property):
            yield from (f"    {method}{_signature(function)}", "")
        yield from rendered(inspect.getdoc(function) or "")


def _members(value: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of ours, in the order of the source, inherited ones first."""
    seen = set()
    for owner in reversed(value.__mro__):
        if not owner.__module__.startswith("pellucid_client") or owner.__name__ == "Model":
            continue
        for name, member in vars(owner).items():
            # pydantic adds functions of its own to the models.
            ours = inspect.isfunction(member) and member.__module__.startswith("pellucid_client")
            documented = isinstance(member, property) or ours
            if documented and not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, getattr(value, name)


def _signature(function: Any) -> str:
    """As in the source: annotations are text there."""
    found = inspect.signature(function)
    parameters = [parameter for name, parameter in found.parameters.items() if name != "self"]
    return _shown(str(found.replace(parameters=parameters)))


def _shown(text: str) -> str:
    """Types as a reader knows them, without their modules and quotation marks."""
    text = re.sub(r"\b(pellucid_client\._\w+|collections\.abc|typing|os|numpy)\.", "", text)
    text = re.sub(r"Unpack\[(\w+)\]", r"\1", text)
    text = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", text)
    text = text.replace("= Ellipsis", "= ...").replace("http.Client", "httpx2.Client")
    text = text.replace("http.AsyncClient", "httpx2.AsyncClient")
    text = re.sub(r"-> '?R'?$", "-> RestoredImage", text)
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def rendered(doc: str) -> Iterator[str]:
    """A docstring in Google's style as Markdown: its sections become lists."""
    section = ""
    for line in doc.splitlines():
        found = _SECTION.match(line)
        if found:
            section = found[1]
            yield from (f"{section}:", "")
        elif not section or not line.strip():
            yield line
        elif line.startswith("    ") and not line.startswith("     "):
            name, colon, text = line.strip().partition(": ")
            yield f"- `{name}`: {text}" if colon and section != "Returns" else f"- {line.strip()}"
        else:
            yield f"  {line.strip()}"


if __name__ == "__main__":
    main()
