"""A prior chosen per request is loaded on demand, kept within a limit of memory, and dropped."""

import pytest

from restore.errors import UnknownPriorError
from service.worker import priors as module
from service.worker.config import WorkerConfig
from service.worker.priors import Priors
from tests.service.worker.conftest import LOADER


def test_priors_are_dropped_when_they_grow_too_many(monkeypatch):
    monkeypatch.setattr(module, "weight_bytes", lambda denoiser: 40)
    priors = Priors(WorkerConfig("cpu", "", loader=LOADER, prior_memory=100))
    first = priors.get("slow:seconds=0")
    assert priors.get("slow:seconds=0") is first
    second = priors.get("cheap")
    assert priors.get("slow:seconds=0") is first and priors.get("cheap") is second
    priors.get("nan")
    assert priors.get("cheap") is second
    assert priors.get("slow:seconds=0") is not first


def test_jobs_of_more_priors_than_fit_all_succeed(start, monkeypatch):
    monkeypatch.setattr(module, "weight_bytes", lambda denoiser: 60)
    worker = start(prior_memory=100)
    jobs = [worker.submit(prior=f"cheap:tile={64 + 16 * (k % 3)}") for k in range(6)]
    for job in jobs:
        worker.succeed(job)


def test_a_prior_added_later_is_found_and_a_replaced_one_loaded_anew(tmp_path, monkeypatch):
    import json
    import shutil

    from models.registry import WEIGHTS

    monkeypatch.setenv("PELLUCID_PRIORS", str(tmp_path))
    priors = Priors(WorkerConfig("cpu", "", runtime="torch"))
    with pytest.raises(UnknownPriorError):
        priors.get("later")
    shutil.copytree(WEIGHTS / "photo", tmp_path / "later")
    facts = json.loads((WEIGHTS / "photo.json").read_text()) | {"name": "later"}
    (tmp_path / "later.json").write_text(json.dumps(facts))
    first = priors.get("later")
    assert first.info.name == "later" and priors.get("later") is first
    exact = priors.exact(first)
    assert exact is not None and exact.denoiser.precision == "fp32"
    (tmp_path / "later.json").write_text(json.dumps(facts | {"notes": "again"}))
    assert priors.get("later") is not first
