from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pellucid_client as pellucid
import pytest

from tests.client.conftest import PACED, Api, size
from tests.serving import Server, serving

#: What a dead server's job waits for before another takes it up.
SETTINGS = {"PELLUCID_LEASE_SECONDS": "2"}


@contextmanager
def killed_and_restarted(server: Server, folder: Path, priors: Path) -> Iterator[None]:
    """Kill a server without warning, and start it again at its port and on its folder while the body runs."""
    over = threading.Event()

    def serve() -> None:
        with serving(folder, priors, SETTINGS, PACED, server.port):
            assert over.wait(120)

    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_job_is_followed_through_the_death_of_its_server(
    kind: str, tmp_path: Path, tiny_priors: Path, picture: Path
) -> None:
    with serving(tmp_path, tiny_priors, SETTINGS, PACED) as server:
        api = Api(kind, server.url)
        try:
            job = api.run(api.client.submit(picture, "denoise", steps=300, fidelity=0, seed=3))
            before = api.first(job.events(), 5)
            with killed_and_restarted(server, tmp_path, tiny_priors):
                after = api.all(job.events(after=before[-1].id))
                image = api.run(job.result())
        finally:
            api.close()
    # Nothing that was told is lost or told twice.
    events = [*before, *after]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "completed" and size(image) == (40, 32)
    assert len([event for event in events if isinstance(event, pellucid.StartedEvent)]) == 2
