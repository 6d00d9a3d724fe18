"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.serving import Server, make_tiny_prior, serving

# Timing belongs to the benchmarks, and a failure must be found again by the next run.
settings.register_profile("pellucid", deadline=None, derandomize=True)
settings.load_profile("pellucid")


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of the public test sets, for tests marked `data`."""
    return Path(os.environ["PELLUCID_DATASETS"])


@pytest.fixture(scope="session")
def tiny_priors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of private priors with a small untrained one, "tiny"."""
    return make_tiny_prior(tmp_path_factory.mktemp("priors"))


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory, tiny_priors: Path) -> Iterator[Server]:
    """A running server process with the small prior; tests share its jobs."""
    with serving(tmp_path_factory.mktemp("real-server"), tiny_priors) as running:
        yield running


@pytest.fixture(autouse=True, scope="session")
def _no_measurements_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `pellucid models bench` found on this machine decides nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PELLUCID_CACHE", str(tmp_path_factory.mktemp("runtimes")))
        yield


def pytest_configure() -> None:
    # A shell's background job ignores the signal of Ctrl-C, and so would the processes that the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {}
    if not os.environ.get("PELLUCID_DATASETS"):
        reasons["data"] = "needs the public test sets: set PELLUCID_DATASETS to their folder"
    if os.environ.get("PELLUCID_CONFORMANCE") != "all":
        reasons["seldom"] = "runs with PELLUCID_CONFORMANCE=all"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
