"""How runtimes are asked for: NAME or NAME:PRECISION."""

from __future__ import annotations

from dataclasses import dataclass

from restore.errors import RuntimeUnavailableError

#: Runtime -> the precisions that it can be asked for. "auto" is the fastest one known to answer as torch does here.
PRECISIONS: dict[str, tuple[str, ...]] = {
    "auto": ("auto",),
    "torch": ("auto", "fp32", "bf16", "fp16"),
    "torch-compile": ("auto", "fp32", "bf16", "fp16"),
    "torch-cudagraphs": ("auto", "fp32", "bf16", "fp16"),
    "onnxruntime": ("auto", "fp32", "fp16", "int8"),
    "onnxruntime-tensorrt": ("auto", "fp32", "fp16"),
    "openvino": ("auto", "fp32", "bf16", "int8"),
    "tensorrt": ("auto", "fp32", "fp16", "bf16"),
}
RUNTIMES = tuple(PRECISIONS)


@dataclass(frozen=True)
class Choice:
    """A runtime and what it computes in.

    Attributes:
        runtime: one of `RUNTIMES`.
        precision: "auto" leaves it to the runtime.
    """

    runtime: str
    precision: str = "auto"

    def __str__(self) -> str:
        return self.runtime if self.precision == "auto" else f"{self.runtime}:{self.precision}"

    @classmethod
    def parse(cls, text: str, precision: str = "auto") -> Choice:
        """Read "NAME" or "NAME:PRECISION".

        Args:
            text: what was asked for.
            precision: taken where the text names none.

        Raises:
            RuntimeUnavailableError: there is none of that name, or it does not compute in that precision.
        """
        name, _, asked = text.partition(":")
        if name not in PRECISIONS:
            raise RuntimeUnavailableError(f"no runtime {name!r}; choose one of {', '.join(RUNTIMES)}")
        asked = asked or precision
        if name == "auto" and asked in ("fp32", "bf16", "fp16"):
            # The precision is the wish, what computes in it is left to us.
            return cls("torch", asked)
        if asked not in PRECISIONS[name]:
            known = ", ".join(PRECISIONS[name])
            raise RuntimeUnavailableError(f"no precision {asked!r} of the runtime {name}; choose one of {known}")
        return cls(name, asked)
