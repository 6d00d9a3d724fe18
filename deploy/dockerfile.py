"""Reads a Dockerfile: its stages and instructions, and which files of the build context they see.

Knows what the project's Dockerfile uses, and refuses the rest.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
KNOWN = frozenset({
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME",
    "WORKDIR",
})  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word in capitals, and the rest with continued lines joined."""

    word: str
    rest: str


@dataclass
class Stage:
    """What stands between one FROM and the next.

    Attributes:
        name: what AS calls it.
        base: an earlier stage's name, or an image.
    """

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, word: str) -> str | None:
        """The rest of the last instruction of a kind, which is the one that counts."""
        found = [item.rest for item in self.instructions if item.word == word]
        return found[-1] if found else None


@dataclass(frozen=True)
class Dockerfile:
    """The stages in order, and the defaults of the arguments before the first FROM."""

    stages: Sequence[Stage]
    arguments: Mapping[str, str]

    def stage(self, name: str) -> Stage:
        """The stage of that name.

        Raises:
            KeyError: there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"no stage {name!r} in the Dockerfile")

    def chain(self, name: str) -> list[Stage]:
        """A stage and those it is based on, the first one first."""
        stage = self.stage(name)
        known = {each.name for each in self.stages}
        return [*(self.chain(stage.base) if stage.base in known else []), stage]

    def effective(self, name: str, word: str) -> str | None:
        """The instruction of a kind that counts in a stage, be it its own or that of a stage it is based on."""
        found = [rest for stage in self.chain(name) if (rest := stage.last(word)) is not None]
        return found[-1] if found else None


def parse(text: str) -> Dockerfile:
    """Read a Dockerfile.

    Raises:
        ValueError: it uses something that is not known here.
    """
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for item in _instructions(text):
        if item.word not in KNOWN:
            raise ValueError(f"not known here: {item.word}")
        if item.word == "FROM":
            base, _, name = item.rest.partition(" AS ")
            stages.append(Stage(name.strip() or str(len(stages)), expand(base.strip(), arguments)))
        elif stages:
            stages[-1].instructions.append(item)
        else:
            name, _, value = item.rest.partition("=")
            arguments[name] = value.strip('"')
    return Dockerfile(stages, arguments)


def _instructions(text: str) -> Iterable[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        yield Instruction(word.upper(), rest.strip())


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put variables in; one that has no value becomes empty."""
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], ""), text)


def pairs(rest: str) -> dict[str, str]:
    """Names and values of an ENV instruction."""
    return dict(word.split("=", 1) for word in shlex.split(rest))


def command(rest: str) -> list[str]:
    """The words of an instruction in exec form.

    Raises:
        ValueError: it is in shell form, which would hide signals from the program.
    """
    try:
        return [str(word) for word in json.loads(rest)]
    except json.JSONDecodeError as error:
        raise ValueError(f"not in exec form: {rest}") from error


def seen(files: Iterable[str], dockerignore: str) -> list[str]:
    """The files of the build context that .dockerignore lets through: the last pattern that fits decides."""
    rules = [line for line in dockerignore.splitlines() if line and not line.startswith("#")]
    return [name for name in files if not _ignored(name, rules)]


def _ignored(name: str, rules: Sequence[str]) -> bool:
    ignored = False
    parents = [str(parent) for parent in Path(name).parents][:-1]
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        candidates = [name, *parents]
        if rule.removeprefix("!").startswith("**/"):
            candidates += Path(name).parts
        if any(_fits(candidate, pattern) for candidate in candidates):
            ignored = not rule.startswith("!")
    return ignored


def _fits(name: str, pattern: str) -> bool:
    """A * of .dockerignore does not reach over a slash."""
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)
