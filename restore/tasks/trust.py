"""How far the tasks trust the prior: `unified`'s knobs by fidelity."""

from __future__ import annotations

#: Factor on v(sigma) at fidelity 1 and at fidelity 0. At 1, on nine held-out photographs (256x256, embedded prior),
#: 1 / 8 / 16 / 32 gave: blur 1.6 with noise 2.55 28.86 / 30.37 / 30.51 / 30.14 dB, blur 1.2 with noise 8 26.71 / 29.77
#: / 30.10 / 29.37, x4 with noise 2.55 25.59 / 27.37 / 27.42 / 27.30, x2 with noise 8 24.74 / 29.46 / 29.72 / 28.50.
SLACK, SAMPLE_SLACK = 16.0, 3.0
#: How much more noise than there is the prior is told of at fidelity 0: a little less, for what it smooths away no
#: later step brings back. On eight held-out photographs, 16 calls, noise 2.55: LPIPS of x4 0.312 for a slack of 1
#: without this, 0.260 for 4, 0.234 for 3 with it; of blur 1.6 0.186, 0.132, 0.132.
SAMPLE_INFLATION = -0.025


def slack(fidelity: float) -> float:
    """`unified`'s factor on v(sigma)."""
    return float(SLACK**fidelity * SAMPLE_SLACK ** (1.0 - fidelity))


def inflation(fidelity: float) -> float:
    """`unified`'s inflation of the level that the prior is told."""
    return SAMPLE_INFLATION * (1.0 - fidelity)
