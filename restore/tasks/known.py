"""The tasks by name."""

from __future__ import annotations

from restore.tasks.auto import auto
from restore.tasks.colorize import colorize
from restore.tasks.deblur import deblur
from restore.tasks.dejpeg import dejpeg
from restore.tasks.denoise import denoise
from restore.tasks.inpaint import inpaint
from restore.tasks.low_light_enhance import low_light_enhance
from restore.tasks.plan import Task
from restore.tasks.super_resolve import super_resolve

TASKS: dict[str, Task] = {
    "auto": auto,
    "denoise": denoise,
    "super-resolve": super_resolve,
    "low-light-enhance": low_light_enhance,
    "deblur": deblur,
    "inpaint": inpaint,
    "colorize": colorize,
    "dejpeg": dejpeg,
}

__all__ = ["TASKS", "Task"]
