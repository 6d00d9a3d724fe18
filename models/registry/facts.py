"""What is known of a prior without loading it: one JSON file a prior."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.loaders.embedded import CONFIG_FILE, REMEDY, WEIGHTS_FILE
from restore.errors import CorruptWeightsError

TABLE_FILE = "error_table.json"
#: Names of priors: safe as a file's name and in a URL.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class PriorFacts:
    """What is known of a prior without loading it.

    Attributes:
        name: how users call it.
        family: the network's class.
        tasks: what it serves; "any" for a prior of photographs.
        licence: {"code": SPDX, "weights": SPDX or in words, "commercial": "yes", "no" or "unclear"}.
        folder: where its files lie.
        files: file name -> {"sha256": hex, "bytes": size}; both null until the first pull where nobody published them.
        sigma_min: smallest noise level it was trained on, range [-1, 1].
        sigma_max: largest noise level it was trained on.
        channels: of the pictures it knows.
        multiple_of: height and width of its tiles are divisible by this.
        receptive_field: pixels across.
        parameters: number of weights.
        citation: how to cite it.
        training: summary of how it was trained.
        scores: measurements, {"validation": {sigma on the 0-255 scale: PSNR in dB}, ...}.
        native_size: the only side of its tiles; None when fully convolutional.
        prediction: "epsilon", "v_prediction", "sample", "edm" or "consistency".
        schedule: in words.
        source: {"hub": repository, "revision": ...}, {"url": of the folder of its files} or {"path": ...}; empty for
            a shipped one.
        options: what its checkpoint does not say, see `models.loaders.loaded.LoadOptions`.
        hints: {"memory_gib": float32 weights and one call, "estimated": what that is, "teraflop_per_call": floating
            point operations of one call on one tile, counted by benchmarks/prior_cost.py}.
        scale: how many times it enlarges, where it does nothing else (a latent upscaler); None for every other one.
        steps: calls that such a one makes when nobody says how many.
        notes: what else a user should know.
        assumed: what was taken for true when it was added.
    """

    name: str
    family: str
    tasks: tuple[str, ...]
    licence: dict[str, str]
    folder: Path
    files: dict[str, dict[str, Any]]
    sigma_min: float
    sigma_max: float
    channels: int
    multiple_of: int
    receptive_field: int
    parameters: int
    citation: str
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    native_size: int | None = None
    prediction: str = "edm"
    schedule: str = "continuous noise levels"
    source: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    hints: dict[str, Any] = field(default_factory=dict)
    scale: int | None = None
    steps: int | None = None
    notes: str = ""
    assumed: tuple[str, ...] = ()

    @property
    def weights_file(self) -> str:
        """Name of the file of weights: the largest, or the only one that is none of the small ones."""
        if WEIGHTS_FILE in self.files:
            return WEIGHTS_FILE
        heavy = [name for name in self.files if not name.endswith(".json")]
        return max(heavy or self.files, key=lambda name: self.files[name].get("bytes") or 0)

    @property
    def digest(self) -> str:
        """ "sha256:..." of the weights; empty while unknown."""
        sha256 = self.files[self.weights_file].get("sha256")
        return f"sha256:{sha256}" if sha256 else ""

    @property
    def measured(self) -> bool:
        """Whether v(sigma) is known, or not needed: what only enlarges does not weigh its error."""
        return self.scale is not None or TABLE_FILE in self.files

    @property
    def bytes(self) -> int | None:
        """Size of all files; None while unknown."""
        sizes = [entry.get("bytes") for entry in self.files.values()]
        return None if any(size is None for size in sizes) else sum(size for size in sizes if size is not None)

    @classmethod
    def read(cls, path: Path, folder: Path | None = None, pulled: bool = True) -> PriorFacts:
        """Read `NAME.json`.

        Args:
            path: of the file.
            folder: where the prior's files lie; beside the description when None.
            pulled: whether they must lie there, with known digests.

        Raises:
            CorruptWeightsError: the file is unreadable or incomplete.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            where = path.parent / facts["name"] if folder is None else folder
            facts |= {"tasks": tuple(facts["tasks"]), "assumed": tuple(facts.get("assumed", ())), "folder": where}
            prior = cls(**facts)
            complete = bool(prior.files) and all(
                not pulled or (entry["sha256"] and entry["bytes"] >= 0) for entry in prior.files.values()
            )
            inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in prior.files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptWeightsError(f"{path} does not describe a prior ({error}); {REMEDY}") from error
        if not inside or prior.name != path.stem:
            raise CorruptWeightsError(f"{path} names a file outside its folder, or another prior; {REMEDY}")
        own = {CONFIG_FILE, WEIGHTS_FILE, TABLE_FILE} if prior.family == "DenoisingUNet" else set()
        if own - prior.files.keys() or not complete:
            missing = sorted(own - prior.files.keys())
            raise CorruptWeightsError(f"{path} lacks the digests of {missing or 'its files'}; {REMEDY}")
        return prior

    def record(self) -> dict[str, Any]:
        """As JSON: what differs from an attribute's default, without the folder."""
        from dataclasses import MISSING, asdict, fields

        plain, kept = asdict(self), {}
        for known in fields(self):
            default = known.default_factory() if known.default_factory is not MISSING else known.default
            if known.name != "folder" and plain[known.name] != default:
                kept[known.name] = plain[known.name]
        return kept


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_facts(path: Path) -> dict[str, Any]:
    """What is registered of a file: its sha256 and size in bytes."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def check_files(facts: PriorFacts) -> None:
    """Check every file of a prior against its registered sha256.

    Raises:
        CorruptWeightsError: a file is missing or is not the registered one; the message names it.
    """
    remedy = (
        f"pellucid models pull {facts.name} --force" if facts.source.get("hub") or facts.source.get("url") else REMEDY
    )
    for file, entry in facts.files.items():
        path = facts.folder / file
        try:
            size, digest = path.stat().st_size, file_sha256(path)
        except OSError as error:
            raise CorruptWeightsError(f"{path} of prior {facts.name!r} cannot be read ({error}); {remedy}") from error
        if size != entry["bytes"] or digest != entry["sha256"]:
            raise CorruptWeightsError(
                f"{path} of prior {facts.name!r} is not the registered file: {size} bytes, sha256 {digest[:12]}..., "
                f"expected {entry['bytes']} bytes, {entry['sha256'][:12]}...; {remedy}"
            )
