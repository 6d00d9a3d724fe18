"""What is said about each picture: a line for people on standard error, an object for programs on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from service.cli.planning import STANDARD, Plan
from service.cli.progress import PictureBar


def report_success(plan: Plan, report: Mapping[str, Any], bar: PictureBar, options: Mapping[str, Any]) -> None:
    """A picture was restored.

    Args:
        plan: of the picture.
        report: of the restoration; see `restore.result.Result`.
        bar: not to be torn.
        options: of the command: `as_json`, `quiet`.
    """
    if options["as_json"]:
        record = {"input": plan.name, "output": _output(plan), "uncertainty": None, **report}
        if plan.uncertainty is not None:
            record["uncertainty"] = str(plan.uncertainty)
        bar.print(json.dumps(record), sys.stdout)
    if options["quiet"]:
        return
    for warning in report["warnings"]:
        bar.print(f"pellucid: warning: {warning}", sys.stderr)
    if not options["as_json"]:
        calls = f"{report['nfe']} call{'s' if report['nfe'] != 1 else ''}"
        parts = [report["task"], *_found(report["found"]), calls, f"{report['seconds']:.1f} s"]
        if report.get("runtime"):
            parts.append(report["runtime"])
        bar.print(f"{plan.name} -> {_output(plan)}: {', '.join(parts)}", sys.stderr)


def report_failure(plan: Plan, code: str, message: str, bar: PictureBar, as_json: bool) -> None:
    """A picture was not restored.

    Args:
        plan: of the picture.
        code: stable, for programs.
        message: what happened, in the user's words.
        bar: not to be torn.
        as_json: say it on standard output too.
    """
    message = " ".join(message.split())
    if as_json:
        record = {"input": plan.name, "output": _output(plan), "error": {"code": code, "message": message}}
        bar.print(json.dumps(record), sys.stdout)
    named = message if plan.name in message else f"{plan.name}: {message}"
    bar.print(f"pellucid: {named}", sys.stderr)


def _output(plan: Plan) -> str:
    return STANDARD if plan.target is None else str(plan.target)


def _found(found: Mapping[str, Any]) -> Sequence[str]:
    """What was found, each with where it comes from: "noise 24.8 (estimated)"."""
    words = []
    for key, value in found.items():
        if value is None or isinstance(value, dict | list) or key.endswith("_source"):
            continue
        source = found.get(f"{key}_source")
        number = f"{value:.4g}" if isinstance(value, float) else value
        words.append(f"{key} {number}" + (f" ({source})" if source else ""))
    return words
