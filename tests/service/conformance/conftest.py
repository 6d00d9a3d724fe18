"""Every engine with every database: local and Ray, SQLite with files and PostgreSQL with S3.

By default each engine runs with one database; PELLUCID_CONFORMANCE=all runs all four pairs, and what needs the default
lease of half a minute.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.conformance.site import SECRET, Server, Site, environment
from tests.service.servers import Bucket, postgres_database, s3_server

ALL = os.environ.get("PELLUCID_CONFORMANCE") == "all"
_seldom = pytest.mark.skipif(not ALL, reason="runs with PELLUCID_CONFORMANCE=all")


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with s3_server(tmp_path_factory.mktemp("s3")) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def cluster(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Address and first process of a Ray cluster of two nodes."""
    with ray_cluster(tmp_path_factory.mktemp("ray"), bucket) as found:
        yield found


@contextmanager
def ray_cluster(folder: Path, bucket: Bucket) -> Iterator[tuple[str, int]]:
    """Address and first process of another."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install 'pellucid[ray]'")
    command = [sys.executable, str(Path(__file__).with_name("cluster.py"))]
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment(**bucket.environment)
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        address = ""
        for line in process.stdout:
            if line.startswith(b"address "):
                address = line.decode().split()[1]
                break
        assert address, (folder / "log").read_text()
        try:
            yield address, process.pid
        finally:
            process.stdin.close()
            process.wait(60)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("local-sqlite", marks=_seldom),
        "local-postgres",
        "ray-sqlite",
        pytest.param("ray-postgres", marks=_seldom),
    ],
)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One of each, with one server running; workers take four jobs at a time."""
    engine, _, store = request.param.partition("-")
    folder = tmp_path_factory.mktemp(request.param)
    settings = {
        "PELLUCID_ENGINE": engine,
        "PELLUCID_DEVICES": "cpu",
        "PELLUCID_JOBS_AT_ONCE": "4" if engine == "local" else "2",
        "PELLUCID_LEASE_SECONDS": "4",
        "PELLUCID_DRAIN_SECONDS": "6",
        "PELLUCID_HANG_SECONDS": "60",
        "PELLUCID_REQUESTS_PER_MINUTE": "1000000",
        "PELLUCID_WEBHOOK_SECRET": SECRET,
        "PELLUCID_ALLOWED_ADDRESSES": "127.0.0.0/8",
        "PELLUCID_LOG_FORMAT": "text",
    }
    site = Site(engine, folder, settings)
    if engine == "ray":
        address, site.cluster = request.getfixturevalue("cluster")
        settings |= {"PELLUCID_RAY_ADDRESS": address, "PELLUCID_RAY_REPLICAS": "2"}
    try:
        if store == "sqlite":
            settings |= {
                "PELLUCID_DATABASE_URL": f"sqlite:///{folder / 'jobs.db'}",
                "PELLUCID_BLOB_URL": str(folder / "blobs"),
            }
            site.start()
            yield site
            return
        bucket = request.getfixturevalue("bucket")
        with postgres_database(request.getfixturevalue("postgres")) as url:
            settings |= {"PELLUCID_DATABASE_URL": url, "PELLUCID_BLOB_URL": bucket.url, **bucket.environment}
            site.start()
            yield site
            site.stop()
    finally:
        site.stop()


@pytest.fixture
def home(site: Site) -> Server:
    """The server that runs all the time."""
    return site.home


@pytest.fixture
def alone(site: Site) -> Server:
    """The same server, with no other beside it."""
    for server in site.servers[1:]:
        server.stop()
    return site.home
