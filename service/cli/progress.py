"""One progress bar over all pictures and their steps, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from restore.sampling.driver import Progress

_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left"


class PictureBar:
    """Counts in pictures; a picture's steps are its fractions, so that the time left covers everything.

    Args:
        pictures: how many there are.
        quiet: show nothing. Nothing is shown either when standard error is no terminal.
    """

    def __init__(self, pictures: int, *, quiet: bool = False) -> None:
        from tqdm import tqdm

        self._pictures, self._finished, self._name = pictures, 0, ""
        self._bar: Any = tqdm(
            total=float(pictures),
            bar_format=_FORMAT,
            file=sys.stderr,
            disable=True if quiet else None,
            leave=False,
            dynamic_ncols=True,
            mininterval=0.1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def start(self, name: str) -> None:
        """A picture is begun."""
        self._name = name if self._pictures == 1 else f"{self._finished + 1}/{self._pictures} {name}"
        self._bar.set_description_str(self._name)

    def step(self, progress: Progress) -> None:
        """A step of it is done."""
        self._bar.set_description_str(f"{self._name} step {progress.step + 1}/{progress.steps}", refresh=False)
        self._move(self._finished + progress.fraction)

    def done(self) -> None:
        """It is finished, or failed."""
        self._finished += 1
        self._move(self._finished)

    @property
    def visible(self) -> bool:
        """Whether anybody sees it."""
        return not self._bar.disable

    def show(self, finished: int, fractions: Iterable[float]) -> None:
        """Several pictures at a time: those that are finished, and how far each of the others has come (0 to 1)."""
        self._bar.set_description_str(f"{finished}/{self._pictures} pictures", refresh=False)
        self._move(finished + sum(fractions))

    def print(self, line: str, stream: TextIO) -> None:
        """Print a line without tearing the bar."""
        self._bar.clear()
        print(line, file=stream, flush=True)
        self._bar.refresh()

    def _move(self, position: float) -> None:
        self._bar.update(position - self._bar.n)
