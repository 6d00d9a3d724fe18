"""Priors to and from other libraries: deepinv's denoisers, diffusers' networks, pipelines and schedulers.

deepinv's operators are degradations through `restore.degradations.adapter.DeepinvAdapter`. Neither library is imported
before it is asked for.
"""

from models.interchange.deepinv_denoiser import from_deepinv, to_deepinv
from models.interchange.diffusers_network import from_diffusers, to_diffusers
from models.interchange.diffusers_schedule import scheduler_for, sigmas_of

__all__ = ["from_deepinv", "from_diffusers", "scheduler_for", "sigmas_of", "to_deepinv", "to_diffusers"]
