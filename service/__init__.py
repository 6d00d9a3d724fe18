"""What people run: the command line, the server and its workers."""

import os

__version__ = "0.1.0"

# Between operations PyTorch's OpenMP threads (libgomp) turn in circles for some milliseconds, 300,000 turns, and keep
# OpenVINO's threads off their cores meanwhile: with 10,000 a restoration on two cores takes 3 to 7 % less time, and one
# on PyTorch alone no more. It is read when PyTorch is loaded, so it must be set before. Whoever sets it is obeyed, and
# so is a policy that says whether to turn at all.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
