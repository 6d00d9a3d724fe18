"""How far the tasks trust the prior: `unified` by fidelity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from restore.sampling import unified
from restore.sampling.protocol import Problem, Sampling

#: Factor on v(sigma) at fidelity 1 and at fidelity 0. At 1, on nine held-out photographs (256x256, embedded prior),
#: 1 / 8 / 16 / 32 gave: blur 1.6 with noise 2.55 28.86 / 30.37 / 30.51 / 30.14 dB, blur 1.2 with noise 8 26.71 / 29.77
#: / 30.10 / 29.37, x4 with noise 2.55 25.59 / 27.37 / 27.42 / 27.30, x2 with noise 8 24.74 / 29.46 / 29.72 / 28.50.
SLACK, SAMPLE_SLACK = 16.0, 3.0
#: How much more noise than there is the prior is told of at fidelity 0, where detail was lost to a reduction or a blur:
#: a little less, for what it smooths away no later step brings back. On eight held-out photographs, 16 calls, noise
#: 2.55: LPIPS of x4 0.312 for a slack of 1 without this, 0.260 for 4, 0.234 for 3 with it; of blur 1.6 0.186, 0.132,
#: 0.132. Where pixels or colours are missing and the others exact, it does harm: strokes to fill in 0.046 without and
#: 0.050 with it, 70 % of the pixels 0.186 and 0.211, colours 0.326 and 0.334; there the slack has no effect.
SAMPLE_INFLATION = -0.025


def by_fidelity(
    fidelity: float, sigmas: Sequence[float], *, sample_inflation: float = 0.0, extrapolation: float = 0.5
) -> Callable[[Problem], Sampling]:
    """`unified` between the posterior sample of fidelity 0 and the least distortion of 1.

    Args:
        fidelity: in [0, 1].
        sigmas: strictly decreasing levels.
        sample_inflation: `unified`'s inflation at fidelity 0; none at 1.
        extrapolation: see `unified`.
    """
    return partial(
        unified,
        sigmas=sigmas,
        fidelity=fidelity,
        extrapolation=extrapolation,
        slack=SLACK**fidelity * SAMPLE_SLACK ** (1.0 - fidelity),
        inflation=sample_inflation * (1.0 - fidelity),
    )
