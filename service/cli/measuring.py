"""What is said and shown while a prior is tested and its error measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from models.self_test import SelfTest

MEASURE = click.option(
    "--measure/--no-measure",
    "wanted",
    default=True,
    help="Test it on photographs and measure its error at each noise level, by which restorations weigh it; minutes "
    "for a large network on a CPU.  [default: measure]",
)


@contextmanager
def measuring(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Says that it begins, and gives what is to be told of every call of the network, for a bar of them.

    Args:
        quiet: nothing is said or shown.
    """
    from tqdm import tqdm

    bar: Any = tqdm(disable=quiet or None, desc="measuring", unit="call", leave=False, dynamic_ncols=True)
    if not quiet:
        click.echo("pellucid: testing it on noisy photographs and measuring its error at each noise level", err=True)

    def on_call(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    with bar:
        yield on_call


def say_gains(test: SelfTest) -> None:
    """Print a self-test's measurements, a line each."""
    for level, gain in test.gains.items():
        click.echo(f"    self-test   noise {level}: {gain:+.1f} dB")
