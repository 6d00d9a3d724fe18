"""Priors that cost nothing, or go wrong on purpose. A worker gets them through `WorkerConfig.loader` only.

A name is "KIND" or "KIND:key=value,...": "slow:seconds=0.1", "oom:rows=2", "oom:side=64,from=3", "nan:at=2"; with
then=1 the call after has too little memory, with then=2 it loses the device. "oom:side=64,at=3,nan=5" does both. With
once=N it goes wrong once in the life of the folder that PELLUCID_TEST_MARKERS names, whatever the number of processes.
REST names cannot hold ":", "," and "=": "slow-seconds_0.1-from_3" is the same as "slow:seconds=0.1,from=3".
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from restore.errors import ParameterError
from restore.prior import EnlargingStep, PriorInfo, TiledDenoiser

FATAL = "CUDA error: an illegal memory access was encountered"


class Cheap:
    """Smooths by the noise level; a row's answer has the same bits in any company."""

    batch_invariant = True
    precision = "fp32"

    def __init__(self, name, kind, options):
        self.kind, self.options, self.calls, self.shapes = kind, options, 0, []
        self.entered, self.open = threading.Semaphore(0), threading.Semaphore(0)
        self.info = PriorInfo(name, multiple_of=8, receptive_field=9)

    def __call__(self, x, sigma):
        self.calls += 1
        self.shapes.append(tuple(x.shape))
        getattr(self, f"_{self.kind}", lambda x: None)(x)
        s = sigma.view(-1, 1, 1, 1)
        answer = (x + s * F.avg_pool2d(x, 9, 1, 4, count_include_pad=False)) / (1 + s)
        # A little of the whole tile is in every pixel, so that it matters how a picture is cut.
        answer += 0.02 * x.mean(dim=(2, 3), keepdim=True)
        if (self.kind in ("nan", "half") and self._now()) or self.calls == self.options.get("nan"):
            answer[-1] = float("nan")
        return answer.clamp(-1, 1)

    def _now(self):
        """Whether this call is one that goes wrong."""
        first = self.options.get("from", 1)
        now = self.calls == self.options["at"] if "at" in self.options else self.calls >= first
        return now and ("once" not in self.options or first_time(self.options["once"]))

    def _gate(self, x):
        """Lets a test hold a call: it has `entered`, and ends when the gate is `open`."""
        self.entered.release()
        assert self.open.acquire(timeout=60)

    def _slow(self, x):
        time.sleep(self.options.get("seconds", 0.05) * len(x))

    def _crash(self, x):
        time.sleep(self.options.get("seconds", 0.0))
        if self._now():
            os.kill(os.getpid(), signal.SIGKILL)

    def _hang(self, x):
        if self._now():
            time.sleep(600)

    def _oom(self, x):
        rows, side = self.options.get("rows"), self.options.get("side")
        if self._now() and ((rows and len(x) > rows) or (side and max(x.shape[2:]) > side)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    def _nan(self, x):
        if self.calls == self.options.get("at", 0) + 1 and "then" in self.options:
            raise RuntimeError("CUDA out of memory" if self.options["then"] == 1 else FATAL)

    def _fatal(self, x):
        time.sleep(self.options.get("seconds", 0.0))
        if self._now() and len(x) > self.options.get("rows", 0):
            raise RuntimeError(FATAL)

    def _wrong(self, x):
        if self._now():
            raise ValueError("a secret of the server")

    def _picky(self, x):
        if float(x.max()) > 1.5:
            raise ValueError("too bright")


class Blocks:
    """Enlarges four times, with detail that depends on the seed: an `Enlarger` of two tiles a step."""

    scale, steps = 4, 5

    def __init__(self, name, options, tile=64):
        self.options, self.tile, self.calls = options, tile, 0
        self.info = PriorInfo(name, digest="sha256:00", runtime="torch:fp32")

    def retiled(self, tile):
        if tile % 8:
            raise ParameterError("tiles are multiples of 8")
        return Blocks(self.info.name, self.options, tile)

    def smaller(self):
        return self.retiled(self.tile // 2) if self.tile > 16 else None

    def enlarge(self, small, *, steps, seed):
        large = F.interpolate(small, scale_factor=4, mode="nearest")
        noise = torch.randn(large.shape, generator=torch.Generator().manual_seed(seed))
        estimate = None
        for step in range(steps):
            for half in (1, 2):
                self.calls += 1
                time.sleep(self.options.get("seconds", 0.0))
                if self.tile > self.options.get("side", 1024):
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
                if step == self.options.get("fatal"):
                    raise RuntimeError(FATAL)
                yield EnlargingStep(step, steps, (step + half / 2) / (steps + 1), 1.0, estimate)
            estimate = (large + 0.02 * noise).clamp(-1, 1)
            yield EnlargingStep(step + 1, steps, (step + 1) / (steps + 1), 1.0, estimate)
        return estimate * float("nan") if "nan" in self.options else estimate


def first_time(number):
    """Whether nobody has asked this before, in any process."""
    try:
        (Path(os.environ["PELLUCID_TEST_MARKERS"]) / f"{number:g}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def load(name=None, *, runtime="auto", device="auto"):
    kind, *pairs = re.split("[:,-]", name or "cheap")
    options = {key: float(value) for key, value in (re.split("[=_]", pair) for pair in pairs)}
    if kind == "unloadable":
        raise RuntimeError(FATAL if "fatal" in options else "no such file")
    if kind == "blocks":
        return Blocks(name, options)
    denoiser = Cheap(name or "cheap", kind, options)
    if kind == "half":
        denoiser.precision = "bf16"
    return TiledDenoiser(denoiser, tile=int(options.get("tile", 128)), overlap=16)
