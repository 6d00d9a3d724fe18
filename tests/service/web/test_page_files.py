"""The page's files as they are sent."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from service.http.budget import CALLS
from service.http.page import FOLDER

FILES = [path for path in sorted(FOLDER.rglob("*")) if path.is_file()]


def sent(path: Path) -> str:
    name = path.relative_to(FOLDER).as_posix()
    return "/" if name == "index.html" else f"/web/{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_revalidated_and_never_sent_twice(server: str, path: Path) -> None:
    first = httpx.get(server + sent(path))
    assert first.status_code == 200
    assert first.content == path.read_bytes()
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(server + sent(path), headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = httpx.get(server + sent(path), headers={"Accept-Encoding": "identity"})
    assert plain.content == first.content
    assert plain.headers["etag"] != first.headers["etag"]
    head = httpx.head(server + sent(path), headers={"Accept-Encoding": "identity"})
    assert (head.content, head.headers["content-length"]) == (b"", str(path.stat().st_size))


def test_the_policy_lets_nothing_in_from_elsewhere(server: str) -> None:
    policy = httpx.get(f"{server}/").headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy


def test_the_files_name_no_other_site() -> None:
    for path in FILES:
        found = set(re.findall(r"https?://[\w.-]+", path.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org"}, path  # the SVG namespace of the icon, which is never fetched


def test_the_page_weighs_less_than_100_kilobytes(server: str) -> None:
    with httpx.Client() as client:
        weight = 0
        for path in FILES:
            with client.stream("GET", server + sent(path), headers={"Accept-Encoding": "gzip"}) as answer:
                weight += len(b"".join(answer.iter_raw()))
    assert 10_000 < weight < 100_000


@pytest.mark.parametrize("path", ["/web/", "/web/nothing.js", "/web/../settings.py", "/web/%2e%2e/settings.py"])
def test_nothing_else_is_sent(server: str, path: str) -> None:
    answer = httpx.get(server + path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_the_page_is_told_the_servers_own_limits(server: str) -> None:
    about = httpx.get(f"{server}/web/about.json").json()
    assert about["limits"]["max_work"] == 20
    assert about["limits"]["max_pixels"] == 1_000_000
    assert about["steps"]["denoise"] == {"mean": CALLS["denoise"][0], "sample": CALLS["denoise"][1]}
    assert about["auth"] is False
    assert "jpeg" in about["formats"]
