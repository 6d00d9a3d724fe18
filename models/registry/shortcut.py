"""From a prior's files straight to its exported graph, without building its network in torch.

Which graph belongs to which files is noted when the network was built once. The note says nothing of which runtime is
the fastest or what this machine can do: that is asked each time, as if the network had been built.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.registry.facts import PriorFacts
from models.runtime import cache
from models.runtime.names import Choice
from models.runtime.open_vino_graph import HINTS, compile_request
from restore.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from models.loaders.loaded import LoadedPrior
    from restore.prior.protocol import Denoiser, PriorInfo

PART = "notes"


@dataclass(frozen=True)
class Prepared:
    """A graph that was compiled in the hope that it will be wanted.

    Attributes:
        choice: what was asked for.
        known: the note.
        data: the graph in float32.
        request: what it was compiled to, or the one in int8.
        safe_from: noise level (0-255 scale) from which on the one in int8 serves; None when there is none.
    """

    choice: Choice
    known: dict[str, Any]
    data: bytes
    request: Any
    safe_from: float | None = None

    def denoiser(self, device: str) -> Denoiser | None:
        """The prior for pictures of any size; None when this is not what would have been built now: "auto" is another
        runtime, the number of threads has changed, or memory is scarce.

        Args:
            device: as for `models.registry.load_denoiser`.

        Raises:
            RuntimeUnavailableError: no such device.
        """
        import torch

        from models.footprint import CEILING, fit
        from models.registry import choose_device, in_tiles, wanted_tiles
        from restore.prior.memory import available_bytes

        chosen = choose_device(device)
        if chosen.type != "cpu" or self.known["threads"] != torch.get_num_threads():
            return None
        if self.known["precision"] != _precision(self.choice, self.known["network"], chosen):
            return None
        info = _info(self.known["info"])
        wanted = wanted_tiles(info, chosen)
        if fit(CEILING, available_bytes(chosen), wanted, info.native_size is not None) != wanted:
            return None
        return in_tiles(self._built(info), wanted)

    def _built(self, info: PriorInfo) -> Denoiser:
        from models.runtime.open_vino import OpenVinoDenoiser, graded

        built = OpenVinoDenoiser(self.data, info, self.known["precision"], self.request)
        return built if self.safe_from is None else graded(built, self.data, self.safe_from, self.known["floating"])


def prepare(facts: PriorFacts, choice: Choice, device: str) -> Prepared | None:
    """Compile the graph of a prior whose files were verified; None where there is none. Does not load torch.

    Args:
        facts: of the prior.
        choice: the runtime that was asked for.
        device: as for `models.registry.load_denoiser`.
    """
    place = cache.existing(PART)
    if place is None or device not in ("auto", "cpu") or not _concerned(choice):
        return None
    known = cache.read_json(place / _name(facts, choice))
    if known is None or known["floating"] not in HINTS:
        return None
    stored = wanted = cache.stored_graph(known["network"], "fp32")
    if known["precision"] == "int8":
        wanted = cache.stored_graph(known["network"], "int8")
    if stored is None or wanted is None:
        return None
    try:
        request = compile_request(wanted[0], facts.name, HINTS[known["floating"]], known["threads"])
    except RuntimeUnavailableError:
        return None  # the usual way will say why
    safe_from = float(wanted[1]["safe_from"]) if known["precision"] == "int8" else None
    return Prepared(choice, known, stored[0], request, safe_from)


def note(facts: PriorFacts, choice: Choice, loaded: LoadedPrior, built: Denoiser) -> None:
    """Note which graph belongs to a prior's files, once OpenVINO runs it; forget it when something else does.

    Args:
        facts: of the prior.
        choice: the runtime that was asked for.
        loaded: its network.
        built: what came of them.
    """
    import torch

    runtime, _, precisions = built.info.runtime.partition(":")
    precision, _, below = precisions.partition("+")
    floating = below or precision
    if not _concerned(choice):
        return
    if runtime != "openvino" or floating not in HINTS:
        place = cache.existing(PART)
        if place is not None:
            with contextlib.suppress(OSError):
                (place / _name(facts, choice)).unlink(missing_ok=True)
        return
    known = {
        "prior": facts.name, "network": cache.fingerprint(loaded.network), "precision": precision,
        "floating": floating, "threads": torch.get_num_threads(), "info": asdict(loaded.info),
    }  # fmt: skip
    # Where nothing can be written, the next start takes as long as this one.
    with contextlib.suppress(RuntimeUnavailableError):
        cache.write_json(cache.folder(PART) / _name(facts, choice), known)


def _concerned(choice: Choice) -> bool:
    return choice.runtime in ("auto", "openvino")


def _name(facts: PriorFacts, choice: Choice) -> str:
    versions = cache.versions(*cache.DISTRIBUTIONS, *cache.EXPORTERS)
    name = cache.key(
        files=facts.files, prior=facts.name, options=facts.options, choice=str(choice), versions=versions,
        sources=_sources(),
    )  # fmt: skip
    return f"{name}.json"


def _sources() -> list[int]:
    """What changes when somebody works on this package: how many files it has, and when the last was written."""
    times = [path.stat().st_mtime_ns for path in Path(__file__).parents[1].rglob("*.py")]
    return [len(times), max(times)]


def _precision(choice: Choice, mark: str, device: Any) -> str | None:
    """What OpenVINO would compute in if it were built now; None when something else would."""
    from models.denoiser import bf16_in_hardware
    from models.runtime.measuring import remembered_of

    if choice.runtime == "auto":
        found = remembered_of(mark, device)
        if found is None:
            return None
        choice = Choice.parse(found["chosen"])
    if choice.runtime != "openvino":
        return None
    if choice.precision == "auto":
        return "bf16" if bf16_in_hardware(device) else "fp32"
    return choice.precision


def _info(stored: dict[str, Any]) -> PriorInfo:
    from restore.prior.protocol import ErrorTable, PriorInfo

    table = stored["error_table"]
    if table is not None:
        table = ErrorTable(tuple(table["sigma"]), tuple(table["mse"]))
    return PriorInfo(**{**stored, "error_table": table})
