"""How far the tasks trust the prior's measured error."""

from __future__ import annotations

#: Factor on v(sigma) at fidelity 1. On nine held-out photographs (256x256, embedded prior), 1 / 8 / 16 / 32 gave: blur
#: 1.6 with noise 2.55 28.86 / 30.37 / 30.51 / 30.14 dB, blur 1.2 with noise 8 26.71 / 29.77 / 30.10 / 29.37, x4 with
#: noise 2.55 25.59 / 27.37 / 27.42 / 27.30, x2 with noise 8 24.74 / 29.46 / 29.72 / 28.50.
SLACK = 16.0


def slack(fidelity: float) -> float:
    """`unified`'s factor on v(sigma): none for a posterior sample, whose noise is what v(sigma) was measured with."""
    return float(SLACK**fidelity)
