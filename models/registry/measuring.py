"""Testing a prior and measuring its error at each noise level, after it was fetched, converted or added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.registry.facts import TABLE_FILE, PriorFacts, file_facts
from models.registry.places import private_folder
from models.registry.pull import describe, locked, prepare_folder
from restore.errors import PriorError

if TYPE_CHECKING:
    from models.loaders.loaded import LoadedPrior
    from models.self_test import SelfTest
    from restore.prior.protocol import ErrorTable

OnCall = Callable[[int, int], None]


def measure(
    name: str,
    *,
    photographs: Path | None = None,
    device: str = "auto",
    levels: int | None = None,
    on_call: OnCall | None = None,
) -> tuple[PriorFacts, SelfTest]:
    """Test a prior that was pulled, or added before, and measure its error at each noise level.

    Args:
        name: of an installed prior of the user's.
        photographs: a folder of pictures to test and measure on; those of the package when None.
        device: where, see `models.registry.choose_device`.
        levels: noise levels of the error table.
        on_call: told before every call of the network how many were made, and how many there will be.

    Raises:
        PriorError: it came with the package, measured; it only enlarges; or see `models.registry.open_prior`.
        SelfTestError: it does not denoise; nothing is changed.
    """
    from models.error_table import save_error_table
    from models.registry import open_prior, verify

    facts = verify(name)
    if facts.folder.parent != private_folder():
        raise PriorError(f"the prior {name!r} came with the package, and was measured")
    test, table = _measured(open_prior(name), name, photographs, device, levels, on_call)
    with locked(prepare_folder(), name):
        facts, path = verify(name), facts.folder / TABLE_FILE
        fresh = path.with_suffix(".new")
        save_error_table(table, fresh)
        fresh.replace(path)
        files = facts.files | {TABLE_FILE: file_facts(path)}
        scores = facts.scores | {"self-test": {str(level): gain for level, gain in test.gains.items()}}
        return describe(replace(facts, files=files, scores=scores)), test


def measure_folder(folder: Path, *, device: str = "auto", on_call: OnCall | None = None) -> SelfTest:
    """The same for a prior in a folder that nobody registered: its error table is written into it.

    Args:
        folder: see `models.registry.load_folder`.
        device: see `measure`.
        on_call: see `measure`.

    Raises:
        SelfTestError: it does not denoise; nothing is written.
    """
    from models.error_table import save_error_table
    from models.registry import open_folder

    test, table = _measured(open_folder(folder), str(folder), None, device, None, on_call)
    save_error_table(table, folder / TABLE_FILE)
    return test


def _measured(
    loaded: LoadedPrior, name: str, photographs: Path | None, device: str, levels: int | None, on_call: OnCall | None
) -> tuple[SelfTest, ErrorTable]:
    from models.registry import choose_device, reference
    from models.self_test import PHOTOGRAPHS, TABLE_LEVELS, Counted, fitting, measure_table, self_test
    from models.self_test import photographs as read_photographs

    info, levels = loaded.info, levels or TABLE_LEVELS
    pictures = fitting(read_photographs(photographs or PHOTOGRAPHS), info)
    denoiser = reference(loaded, choose_device(device))
    counted = Counted(denoiser, pictures, levels, on_call or (lambda done, total: None))
    test = self_test(counted, pictures, info)
    test.check(name)
    return test, measure_table(counted, pictures, info, levels)
