import threading
import time

import pytest
import torch

from models.cache import PriorCache, default_limit, expected_bytes, weight_bytes
from models.registry import load_denoiser
from restore.errors import UnknownPriorError


def cache(limit, **given):
    loads = []

    def load(key):
        loads.append(key)
        return f"prior {key}"

    return PriorCache(load, lambda value: int(value.split()[1]), limit, **given), loads


def test_a_prior_is_loaded_once():
    kept, loads = cache(None)
    assert [kept.get(3), kept.get(3), kept.get(4)] == ["prior 3", "prior 3", "prior 4"]
    assert loads == [3, 4] and kept.bytes == 7 and kept.keys == (3, 4)


def test_the_least_recently_used_one_is_dropped():
    kept, loads = cache(10)
    for key in (3, 4, 3, 5):
        kept.get(key)
    assert kept.keys == (3, 5) and kept.dropped == 1 and kept.bytes == 8
    assert kept.get(4) == "prior 4" and kept.keys == (5, 4)
    assert loads == [3, 4, 5, 4]


def test_one_that_is_larger_than_the_limit_is_kept_alone():
    kept, _ = cache(10)
    kept.get(3)
    assert kept.get(50) == "prior 50" and kept.keys == (50,)
    kept.get(1)
    assert kept.keys == (1,)


def test_room_is_made_before_a_prior_is_loaded():
    there = []
    kept = PriorCache(
        lambda key: there.append((key, kept.keys)) or f"prior {key}", lambda value: int(value.split()[1]), 10, int
    )
    for key in (6, 4, 7):
        kept.get(key)
    assert there == [(6, ()), (4, (6,)), (7, ())]


def test_evicting():
    kept, loads = cache(None)
    kept.get(1)
    kept.get(2)
    kept.evict(1)
    assert kept.keys == (2,)
    kept.evict()
    kept.evict(9)
    kept.get(1)
    assert kept.keys == (1,) and loads == [1, 2, 1] and kept.dropped == 2


def test_threads_that_ask_together_wait_for_one_load_and_others_do_not():
    begun, go, loads = threading.Event(), threading.Event(), []

    def load(key):
        loads.append(key)
        if key == "slow":
            begun.set()
            assert go.wait(10)
        return key

    kept = PriorCache(load, len)
    threads = [threading.Thread(target=kept.get, args=("slow",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    assert kept.get("quick") == "quick"
    time.sleep(0.05)
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(loads) == ["quick", "slow"]


def test_a_load_that_fails_leaves_nothing_and_is_tried_again():
    attempts = []

    def load(key):
        attempts.append(key)
        if len(attempts) == 1:
            raise UnknownPriorError(key)
        return key

    kept = PriorCache(load, len)
    with pytest.raises(UnknownPriorError):
        kept.get("a")
    assert kept.keys == () and kept.get("a") == "a"


def test_the_embedded_priors_size_is_known_before_and_after():
    prior = load_denoiser(device="cpu", runtime="torch", precision="fp32")
    assert weight_bytes(prior) == pytest.approx(expected_bytes(None), rel=0.01)
    assert expected_bytes("imaginary") == 0 and weight_bytes(object()) == 0
    limit = default_limit("cpu")
    assert limit is None or limit > 2**28
    del prior


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_of_a_devices_memory():
    assert default_limit("cuda:0") == torch.cuda.get_device_properties(0).total_memory // 2


def test_the_library_loads_a_prior_once_and_one_that_was_replaced_anew(tmp_path, monkeypatch):
    import json
    import shutil

    from models.registry import WEIGHTS
    from restore import Restorer
    from restore.prior import release_priors

    monkeypatch.setenv("PELLUCID_PRIORS", str(tmp_path))
    shutil.copytree(WEIGHTS / "photo", tmp_path / "mine")
    facts = json.loads((WEIGHTS / "photo.json").read_text()) | {"name": "mine"}
    (tmp_path / "mine.json").write_text(json.dumps(facts))

    def prior(**given):
        return Restorer.from_pretrained("mine", device="cpu", runtime="torch:fp32", **given).prior

    first = prior()
    assert prior() is first
    assert prior(tile=128).denoiser is first.denoiser
    (tmp_path / "mine.json").write_text(json.dumps(facts | {"notes": "again"}))
    second = prior()
    assert second is not first and prior() is second
    release_priors()
    assert prior() is not second
    with pytest.raises(UnknownPriorError):
        Restorer.from_pretrained("nobody", device="cpu")
    release_priors()
