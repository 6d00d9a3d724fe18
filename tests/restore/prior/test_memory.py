from pathlib import Path

import pytest
import torch

from restore.prior.memory import _available_in_groups, _available_of_system, available_bytes, is_out_of_memory


def test_this_machine_has_memory() -> None:
    found = available_bytes()
    assert found is not None
    assert found > 2**20


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{value}\n")


def test_the_tightest_control_group_counts_less_what_can_make_way(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/outer/inner\n")
    group(tmp_path / "outer", memory_max=1000, memory_current=700, memory_stat="anon 600\ninactive_file 100")
    group(tmp_path / "outer" / "inner", memory_max="max", memory_current=10)
    assert _available_in_groups(membership, tmp_path) == 400
    group(tmp_path / "outer" / "inner", memory_max=50, memory_current=60)
    assert _available_in_groups(membership, tmp_path) == 0


def test_version_1_of_control_groups(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("3:cpu:/a\n5:memory:/a\n")
    group(tmp_path / "memory", memory_limit_in_bytes=2**63 - 4096, memory_usage_in_bytes=5)
    assert _available_in_groups(membership, tmp_path) is None
    group(tmp_path / "memory" / "a", memory_limit_in_bytes=900, memory_usage_in_bytes=200)
    assert _available_in_groups(membership, tmp_path) == 700


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert _available_of_system(tmp_path / "nowhere") is None
    assert _available_in_groups(tmp_path / "nowhere") is None
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable: 3 kB\n")
    assert _available_of_system(tmp_path / "meminfo") == 3072


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("Failed to allocate memory for requested buffer of size 5"), True),
        (RuntimeError("shapes do not match"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_running_out_is_recognised(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
