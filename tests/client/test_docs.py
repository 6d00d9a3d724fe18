"""The guide's code runs, and the reference is what the docstrings say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serving import ROOT, Server

GUIDE = ROOT / "docs" / "client.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_reference_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_client_reference.py"))
    committed = (ROOT / "docs" / "client-reference.md").read_text()
    assert committed == script["reference"](), "run python docs/make_client_reference.py"


def test_every_document_that_the_guide_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", GUIDE.read_text()):
        assert (GUIDE.parent / target).exists(), target


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the guide names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    values = np.random.default_rng(0).normal(120, 20, (32, 40, 3)).clip(0, 255).astype(np.uint8)
    for name in ("noisy.jpg", "small.png", "photographs/one.jpg", "photographs/two.png"):
        Image.fromarray(values).save(name)
    Image.fromarray(values // 8).save("dark.jpg")
    Image.fromarray(values[:, :, 0]).save("grey.jpg")
    mask = np.zeros((32, 40), np.uint8)
    mask[10:14, 10:20] = 255
    Image.fromarray(mask).save("mask.png")


def test_the_guide_s_code_runs(pictures: None, real_server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(SNIPPETS) >= 10
    namespace: dict[str, object] = {}
    for number, snippet in enumerate(SNIPPETS):
        code = compile(snippet.replace("http://localhost:8000", real_server.url), f"{GUIDE} block {number}", "exec")
        exec(code, namespace)
    said = capsys.readouterr().out
    assert "invalid_parameter" in said and "succeeded" in said and "tiny" in said
    for name in ("clean.jpg", "large.png", "map.png", "fidelity-0.5.jpg", "restored/one.jpg", "larger.png"):
        with Image.open(name) as image:
            image.load()
