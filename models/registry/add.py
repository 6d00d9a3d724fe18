"""Registering a checkpoint of the user's own: inspected, tested, measured, copied."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import UnsupportedNetworkError
from models.registry.facts import NAME, TABLE_FILE, PriorFacts, file_facts
from models.registry.places import installed, list_known
from models.registry.pull import locked, prepare_folder, publish
from restore.errors import OutputError, ParameterError, PriorError

if TYPE_CHECKING:
    from models.loaders.loaded import LoadedPrior, LoadOptions
    from models.self_test import SelfTest

#: Said of a file whose licence the user did not tell.
UNKNOWN_LICENCE = "unknown"
#: Another reading of a checkpoint is taken when it is better by this many decibels, mean over the levels.
CLEARLY_BETTER = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Added:
    """What came of adding a checkpoint.

    Attributes:
        facts: as registered.
        found: what was read off it, in sentences.
        assumed: what it does not say and was taken for true, in sentences.
        test: the self-test's measurements.
    """

    facts: PriorFacts
    found: tuple[str, ...]
    assumed: tuple[str, ...]
    test: SelfTest


def add(
    path: Path,
    name: str,
    *,
    options: LoadOptions | None = None,
    licence: str = UNKNOWN_LICENCE,
    tasks: tuple[str, ...] = ("any",),
    photographs: Path | None = None,
    device: str = "auto",
    levels: int | None = None,
    on_stage: Say | None = None,
) -> Added:
    """Register a checkpoint as a prior of the user's own; its files are copied into the private folder.

    Where a checkpoint that nobody published under a known name does not say how it was trained, every reading is
    measured, and the one that denoises best is taken.

    Args:
        path: a file or folder, see `models.loaders.load`.
        name: how it will be called: lower-case letters, digits, ".", "_" and "-".
        options: what it does not say.
        licence: of its weights.
        tasks: what it serves.
        photographs: a folder of pictures to test and measure on; those of the package when None.
        device: where to test, see `models.registry.choose_device`.
        levels: noise levels of the error table.
        on_stage: told in words what is being done.

    Raises:
        ParameterError: a name that is taken or none.
        CorruptWeightsError, UnsafeWeightsError, UnsupportedNetworkError: see `models.loaders.load`.
        SelfTestError: it does not denoise; nothing is registered.
        OutputError: its files cannot be copied.
    """
    from models.error_table import save_error_table
    from models.latent.loading import is_latent
    from models.loaders import load
    from models.loaders.loaded import LoadOptions
    from models.registry import ONNX
    from models.self_test import TABLE_LEVELS, fitting, measure_table
    from models.self_test import photographs as read_photographs

    check_name(name)
    if is_latent(path):
        raise UnsupportedNetworkError(
            f"{path} is a latent model, which is not tested as a denoiser and cannot be added; an upscaler is used "
            f"from its folder (--prior {path}{os.sep}) or pulled under its published name"
        )
    say = on_stage or (lambda _: None)
    pictures = read_photographs(photographs) if photographs else read_photographs()
    say(f"reading {path}")
    loaded, options = load(path, name, options), options or LoadOptions()
    if loaded.family == ONNX:  # the file does not say it; nothing is tried or assumed again when it is loaded
        info = loaded.info
        options = replace(options, sigma_min=info.sigma_min, sigma_max=info.sigma_max, multiple_of=info.multiple_of)
    if any(file.name == TABLE_FILE for file in loaded.files):
        raise UnsupportedNetworkError(f"{path} calls one of its own files {TABLE_FILE}")
    say("testing it on noisy photographs")
    loaded, options, denoiser, test = _best_reading(path, loaded, options, fitting(pictures, loaded.info), device, say)
    test.check(str(path))
    say("measuring its error at each noise level")
    table = measure_table(denoiser, fitting(pictures, loaded.info), loaded.info, levels or TABLE_LEVELS)
    folder = prepare_folder()
    with locked(folder, name):
        check_name(name)
        staging = folder / f".add-{name}"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            files = _copy(loaded, path, staging)
            save_error_table(table, staging / TABLE_FILE)
            facts = _facts(name, loaded, options, path, licence, tasks, test, staging, (*files, TABLE_FILE))
            published = publish(facts, staging)
        except OSError as error:
            raise OutputError(f"cannot copy {path} to {folder} ({error.strerror or error})") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Added(published, loaded.found, loaded.assumed, test)


def check_name(name: str) -> None:
    """Refuse names that are no names, and taken ones.

    Raises:
        ParameterError: such a name.
    """
    if not NAME.match(name):
        raise ParameterError(f"{name!r} is no name for a prior: lower-case letters, digits, '.', '_' and '-', up to 64")
    if name in installed():
        raise ParameterError(
            f"a prior called {name!r} is there already; pellucid models remove {name}, or choose another"
        )
    if name in {facts.name for facts in list_known()} or name == "default":
        raise ParameterError(f"{name!r} is the name of a published prior; choose another")


def _best_reading(
    path: Path, loaded: LoadedPrior, options: LoadOptions, pictures: list[Any], device: str, say: Say
) -> tuple[LoadedPrior, LoadOptions, Any, SelfTest]:
    """The reading of a checkpoint that denoises best, with its denoiser and measurements."""
    from models.loaders import load, openai
    from models.registry import choose_device, reference
    from models.self_test import self_test

    chosen = choose_device(device)

    def measured(prior: LoadedPrior, count: int | None = None) -> tuple[Any, SelfTest]:
        denoiser = reference(prior, chosen)
        return denoiser, self_test(denoiser, pictures[:count], prior.info)

    denoiser, test = measured(loaded)
    others = list(openai.alternatives(loaded, options))
    if not others:
        return loaded, options, denoiser, test
    best, words = (loaded, options), ""
    gain = _mean(self_test(denoiser, pictures[:1], loaded.info))
    for text, other in others:
        say(f"trying it with {text}")
        try:
            candidate = load(path, loaded.info.name, other)
            found = _mean(measured(candidate, 1)[1])
        except PriorError:
            continue
        if found > gain + CLEARLY_BETTER:
            best, gain, words = (candidate, other), found, text
    if words:
        denoiser, test = measured(best[0])
        say(f"taken with {words}, which denoises best")
    return (*best, denoiser, test)


def _mean(test: SelfTest) -> float:
    gains = [gain for gain in test.gains.values() if math.isfinite(gain)]
    return sum(gains) / len(gains) if gains else -math.inf


def _copy(loaded: LoadedPrior, path: Path, staging: Path) -> tuple[str, ...]:
    """Copy a prior's files, as they lie to each other; their names."""
    root = path if path.is_dir() else path.parent
    names = []
    for file in loaded.files:
        inside = file.is_relative_to(root)
        name = file.relative_to(root) if inside else Path("scheduler") / file.name
        target = staging / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        names.append(name.as_posix())
    return tuple(names)


def _facts(
    name: str, loaded: LoadedPrior, options: LoadOptions, path: Path, licence: str, tasks: tuple[str, ...],
    test: SelfTest, staging: Path, files: tuple[str, ...],
) -> PriorFacts:  # fmt: skip
    info = loaded.info
    described = {file: file_facts(staging / file) for file in files}
    memory = 4 * loaded.parameters / 2**30
    return PriorFacts(
        name=name,
        family=loaded.family,
        tasks=tasks,
        licence={"code": "Apache-2.0", "weights": licence, "commercial": "unclear"},
        folder=staging,
        files=described,
        sigma_min=info.sigma_min,
        sigma_max=info.sigma_max,
        channels=info.channels,
        multiple_of=info.multiple_of,
        receptive_field=info.receptive_field,
        parameters=loaded.parameters,
        citation="",
        scores={"self-test": {str(level): gain for level, gain in test.gains.items()}},
        native_size=info.native_size,
        prediction=loaded.prediction,
        schedule=loaded.schedule,
        source={"path": str(path.absolute())},
        options=replace(options).given(),
        hints={"memory_gib": round(memory, 2), "estimated": "float32 weights alone"},
        assumed=loaded.assumed,
    )
