"""Runs samplers against a denoiser: progress, cancellation, gradients and numerical checks, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from restore.errors import CancelledError, NumericalError, ParameterError, RuntimeUnavailableError
from restore.prior.protocol import Denoiser
from restore.sampling.protocol import DenoiserCall, Sampling


@dataclass(frozen=True)
class Progress:
    """One denoiser call has been answered.

    Attributes:
        step: index of the call, counted from 0.
        steps: how many calls the sampler makes in all.
        sigma: noise level of the call (the largest one of its rows), range [-1, 1].
        x0: the prior's answer [N, C, H, W]: a preview of the result.
        fraction: how much of the sampler's work is done, 0 to 1.
    """

    step: int
    steps: int
    sigma: float
    x0: Tensor
    fraction: float


def run(
    sampling: Sampling,
    denoiser: Denoiser,
    *,
    on_step: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Tensor:
    """Drive one sampler to its end and return the restored image [N, C, H, W], not clipped.

    Args:
        sampling: a fresh generator of calls; closed on the way out, whatever happens.
        denoiser: answers them.
        on_step: told of every answer.
        cancelled: asked before every call.

    Raises:
        CancelledError: `cancelled` said so.
        NumericalError: NaN or infinity, in what the sampler asks for or in the denoiser's answer.
        RuntimeUnavailableError: the sampler differentiates the network and this one cannot be differentiated.
    """
    try:
        with torch.no_grad():
            call, result = _advance(sampling)
            while call is not None:
                if cancelled is not None and cancelled():
                    raise CancelledError(f"cancelled before step {call.step + 1} of {call.steps}")
                x0 = _answer(denoiser, call)
                if on_step is not None:
                    on_step(Progress(call.step, call.steps, float(call.sigma.max()), x0.detach(), call.fraction()))
                del call  # a large picture's memory, needed by the data step
                call, result = _advance(sampling, x0)
                del x0
        assert result is not None
        _check(result, "the last data step gave NaN or infinity")
        return result
    finally:
        sampling.close()


def run_many(samplings: Sequence[Sampling], denoiser: Denoiser, max_batch: int = 8) -> list[Tensor]:
    """Drive several samplers at once, packing their pending calls into batches; results as from `run`, in order.

    Every round, calls for pictures of the same shape and type share batches of at most `max_batch` rows, each row with
    its own sigma, so samplers of different kinds and at different steps mix. Calls that are differentiated go alone:
    packed, they would share one graph.

    Raises:
        ParameterError: max_batch below 1.
        NumericalError, RuntimeUnavailableError: as `run`; then all samplers are closed.
    """
    if max_batch < 1:
        raise ParameterError(f"a batch holds at least one row, not {max_batch}")
    results: dict[int, Tensor] = {}
    try:
        with torch.no_grad():
            pending: dict[int, DenoiserCall] = {}

            def advance(i: int, x0: Tensor | None = None) -> None:
                call, result = _advance(samplings[i], x0)
                if call is not None:
                    pending[i] = call
                elif result is not None:
                    _check(result, f"the last data step of sampler {i} gave NaN or infinity")
                    results[i] = result

            for i in range(len(samplings)):
                advance(i)
            while pending:
                groups: dict[tuple[object, ...], list[int]] = {}
                for i, call in pending.items():
                    alone = i if call.differentiate else None
                    groups.setdefault((call.x.shape[1:], call.x.dtype, call.x.device, alone), []).append(i)
                for members in groups.values():
                    calls = [pending.pop(i) for i in members]
                    for i, x0 in zip(members, _answer_packed(denoiser, calls, max_batch), strict=True):
                        advance(i, x0)
        return [results[i] for i in range(len(samplings))]
    finally:
        for sampling in samplings:
            sampling.close()


def _advance(sampling: Sampling, x0: Tensor | None = None) -> tuple[DenoiserCall | None, Tensor | None]:
    """The sampler's next call, or its result."""
    try:
        return (next(sampling) if x0 is None else sampling.send(x0)), None
    except StopIteration as stop:
        return None, stop.value


def _answer(denoiser: Denoiser, call: DenoiserCall) -> Tensor:
    """One call, checked on both sides."""
    where = f"step {call.step + 1} of {call.steps} (sigma {float(call.sigma.max()):.4g})"
    _check(call.x, f"the data step before {where} gave NaN or infinity")
    if call.differentiate and not denoiser.info.differentiable:
        raise RuntimeUnavailableError(
            f"this sampler differentiates the prior, and {denoiser.info.name!r} on this runtime cannot be; "
            "use the torch runtime or another sampler"
        )
    with torch.set_grad_enabled(call.differentiate):
        x0 = denoiser(call.x, call.sigma)
    _check(x0, f"the prior {denoiser.info.name!r} gave NaN or infinity at {where}")
    return x0


def _answer_packed(denoiser: Denoiser, calls: list[DenoiserCall], max_batch: int) -> list[Tensor]:
    """Calls of one shape in as few batches as fit; differentiated calls come one by one."""
    if len(calls) == 1 and (calls[0].differentiate or calls[0].x.shape[0] <= max_batch):
        return [_answer(denoiser, calls[0])]
    first = calls[0]
    x, sigma = torch.cat([c.x for c in calls]), torch.cat([c.sigma for c in calls])
    batches = zip(torch.split(x, max_batch), torch.split(sigma, max_batch), strict=True)
    answers = [_answer(denoiser, DenoiserCall(xs, ss, first.step, first.steps)) for xs, ss in batches]
    return list(torch.split(torch.cat(answers), [c.x.shape[0] for c in calls]))


def _check(x: Tensor, complaint: str) -> None:
    # The sum is finite exactly when every value is (overflow aside) and needs no picture-sized mask.
    if not bool(torch.isfinite(x.detach().sum())):
        raise NumericalError(f"{complaint}; the picture's values or the noise level are likely out of range")
