"""A real server process, a proxy before it that breaks things, and both clients behind one face."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pellucid_client import AsyncClient, Client
from PIL import Image

from tests.client.proxy import Proxy
from tests.serving import serving

#: The real server, its steps slowed to a known pace; see there.
PACED = f"import runpy; runpy.run_path({str(Path(__file__).with_name('paced_server.py'))!r}, run_name='__main__')"


class Api:
    """Either client, called the same way."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind, self.url = kind, url
        self._runner = asyncio.Runner()
        self._made: list[Any] = []
        self.client = self.make()

    def make(self, **options: Any) -> Any:
        """Another client of the same kind."""
        options = {"base_url": self.url, "timeout": 30.0, **options}
        made = Client(**options) if self.kind == "sync" else AsyncClient(**options)
        self._made.append(made)
        return made

    def run(self, value: Any) -> Any:
        """What a method returned, awaited where it must be."""
        return self._runner.run(_awaited(value)) if inspect.isawaitable(value) else value

    def all(self, iterator: Any) -> list[Any]:
        """Everything an iterator yields."""
        return self.first(iterator, None)

    def first(self, iterator: Any, count: int | None) -> list[Any]:
        """The first items of an iterator, which is then closed."""
        if hasattr(iterator, "__aiter__"):
            return self._runner.run(_collected(iterator, count))  # type: ignore[no-any-return]
        found = []
        for item in iterator:
            found.append(item)
            if len(found) == count:
                iterator.close()
        return found

    def close(self) -> None:
        for client in self._made:
            self.run(client.close())
        self._runner.close()


async def _awaited(value: Any) -> Any:
    return await value


async def _collected(iterator: Any, count: int | None) -> list[Any]:
    found = []
    async for item in iterator:
        found.append(item)
        if len(found) == count:
            await iterator.aclose()
            break
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_priors: Path) -> Iterator[int]:
    """The port of a running server process."""
    with serving(tmp_path_factory.mktemp("client-server"), tiny_priors, program=PACED) as running:
        yield running.port


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    with Proxy(server) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def api(request: pytest.FixtureRequest, proxy: Proxy) -> Iterator[Api]:
    made = Api(request.param, proxy.url)
    yield made
    made.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Client]:
    with Client(proxy.url, timeout=30.0) as made:
        yield made


def pixels(width: int = 40, height: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """A gradient with noise of 20."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, width)[None, :, None] + np.zeros((height, 1, 3))
    return np.clip(ramp + 20 * rng.standard_normal(ramp.shape), 0, 255).astype(np.uint8)


def size(image: Any) -> tuple[int, int]:
    """Of a picture that came back: width and height."""
    with Image.open(io.BytesIO(image.bytes)) as opened:
        opened.load()
        return opened.size


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small noisy PNG file."""
    path = tmp_path / "in.png"
    Image.fromarray(pixels()).save(path)
    return path
