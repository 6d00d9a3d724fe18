"""The version, alone in its file so that building the distribution imports nothing else."""

__version__ = "0.1.0"
