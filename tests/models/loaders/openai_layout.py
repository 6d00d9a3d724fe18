"""guided-diffusion's UNet, evaluated straight from a state dict in the documented layout.

Independent of the package: it walks the names as they lie in the file. Also makes such state dicts.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def embedding(state, t, base, label=None):
    half = base // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    features = torch.cat([(t[:, None] * frequencies).cos(), (t[:, None] * frequencies).sin()], 1)
    h = F.linear(features, state["time_embed.0.weight"], state["time_embed.0.bias"])
    h = F.linear(F.silu(h), state["time_embed.2.weight"], state["time_embed.2.bias"])
    if label is not None:
        h = h + state["label_emb.weight"][label]
    return h


def norm(state, name, x):
    return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"])


def conv(state, name, x, **kw):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2, **kw)


def res_block(state, name, x, emb, resize=None):
    h = F.silu(norm(state, f"{name}.in_layers.0", x))
    if resize == "down":
        h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
    if resize == "up":
        h, x = (F.interpolate(v, scale_factor=2, mode="nearest") for v in (h, x))
    h = conv(state, f"{name}.in_layers.2", h)
    m = F.linear(F.silu(emb), state[f"{name}.emb_layers.1.weight"], state[f"{name}.emb_layers.1.bias"])[..., None, None]
    if m.shape[1] == 2 * h.shape[1]:
        scale, shift = m.chunk(2, 1)
        h = norm(state, f"{name}.out_layers.0", h) * (1 + scale) + shift
    else:
        h = norm(state, f"{name}.out_layers.0", h + m)
    h = conv(state, f"{name}.out_layers.3", F.silu(h))
    if f"{name}.skip_connection.weight" in state:
        x = conv(state, f"{name}.skip_connection", x)
    return x + h


def attention(state, name, x, heads, order):
    n, c = x.shape[:2]
    flat = norm(state, f"{name}.norm", x).reshape(n, c, -1)
    weight, bias = state[f"{name}.qkv.weight"].reshape(3 * c, c), state[f"{name}.qkv.bias"]
    qkv = torch.einsum("oc,nct->not", weight, flat) + bias[:, None]
    d = c // heads
    if order == "legacy":
        q, k, v = qkv.reshape(n * heads, 3 * d, -1).split(d, 1)
    else:
        q, k, v = (part.reshape(n * heads, d, -1) for part in qkv.chunk(3, 1))
    scores = torch.softmax(torch.einsum("bct,bcs->bts", q, k) / math.sqrt(d), -1)
    h = torch.einsum("bts,bcs->bct", scores, v).reshape(n, c, -1)
    weight = state[f"{name}.proj_out.weight"].reshape(c, c)
    h = torch.einsum("oc,nct->not", weight, h) + state[f"{name}.proj_out.bias"][:, None]
    return x + h.reshape(x.shape)


def evaluate(state, x, t, *, blocks, heads, order="legacy", label=None, resampling="residual"):
    """The network's output; `blocks` residual blocks a level, `heads` a number or a function of the width."""
    count = heads if callable(heads) else lambda c: heads
    emb = embedding(state, t, state["time_embed.0.weight"].shape[1], label)
    total = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("output_blocks."))

    def stage(name, h, resize):
        for index in range(3):
            layer = f"{name}.{index}"
            last = not any(k.startswith(f"{name}.{index + 1}.") for k in state)
            if f"{layer}.in_layers.2.weight" in state:
                change = resize if (resize == "down" or (resize == "up" and index > 0)) and last else None
                h = res_block(state, layer, h, emb, change if resampling == "residual" else None)
            elif f"{layer}.qkv.weight" in state:
                h = attention(state, layer, h, count(h.shape[1]), order)
            elif f"{layer}.op.weight" in state:
                h = F.conv2d(h, state[f"{layer}.op.weight"], state[f"{layer}.op.bias"], stride=2, padding=1)
            elif f"{layer}.conv.weight" in state:
                h = conv(state, f"{layer}.conv", F.interpolate(h, scale_factor=2, mode="nearest"))
        if resampling == "none" and resize:
            h = F.avg_pool2d(h, 2) if resize == "down" else F.interpolate(h, scale_factor=2, mode="nearest")
        return h

    h = conv(state, "input_blocks.0.0", x)
    skips = [h]
    for number in range(1, total):
        h = stage(f"input_blocks.{number}", h, "down" if number % (blocks + 1) == 0 else None)
        skips.append(h)
    h = stage("middle_block", h, None)
    for number in range(total):
        up = number % (blocks + 1) == blocks and number != total - 1
        h = stage(f"output_blocks.{number}", torch.cat([h, skips.pop()], 1), "up" if up else None)
    return conv(state, "out.2", F.silu(norm(state, "out.0", h)))


def state_dict(
    base=32, multiples=(1, 2), blocks=1, attention_levels=(1,), out=6, classes=0, resampling="residual",
    scale_shift=True, two_dimensional=False, channels=3, seed=0,
):  # fmt: skip
    """A random state dict in this layout."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def put(name, *shape):
        fan = math.prod(shape[1:])
        scale = 1 / math.sqrt(fan) if len(shape) > 1 else 0.1
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * scale
        if len(shape) == 1:
            state[f"{name}.weight"] += 1
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)

    def residual(name, i, o):
        put(f"{name}.in_layers.0", i)
        put(f"{name}.in_layers.2", o, i, 3, 3)
        put(f"{name}.emb_layers.1", (2 if scale_shift else 1) * o, 4 * base)
        put(f"{name}.out_layers.0", o)
        put(f"{name}.out_layers.3", o, o, 3, 3)
        if i != o:
            put(f"{name}.skip_connection", o, i, 1, 1)

    def attend(name, c):
        put(f"{name}.norm", c)
        put(f"{name}.qkv", 3 * c, c, *((1, 1) if two_dimensional else (1,)))
        put(f"{name}.proj_out", c, c, *((1, 1) if two_dimensional else (1,)))

    def resample(name, c, up):
        if resampling == "residual":
            residual(name, c, c)
        elif resampling == "convolution":
            put(f"{name}.{'conv' if up else 'op'}", c, c, 3, 3)

    put("time_embed.0", 4 * base, base)
    put("time_embed.2", 4 * base, 4 * base)
    if classes:
        state["label_emb.weight"] = torch.randn(classes, 4 * base, generator=generator) * 0.3
    widths = [int(m * base) for m in multiples]
    put("input_blocks.0.0", widths[0], channels, 3, 3)
    current, skips, number = widths[0], [widths[0]], 1
    for level, width in enumerate(widths):
        for _ in range(blocks):
            residual(f"input_blocks.{number}.0", current, width)
            if level in attention_levels:
                attend(f"input_blocks.{number}.1", width)
            current, number = width, number + 1
            skips.append(current)
        if level < len(widths) - 1:
            resample(f"input_blocks.{number}.0", current, False)
            number += 1
            skips.append(current)
    residual("middle_block.0", current, current)
    attend("middle_block.1", current)
    residual("middle_block.2", current, current)
    number = 0
    for level, width in reversed(list(enumerate(widths))):
        for block in range(blocks + 1):
            residual(f"output_blocks.{number}.0", current + skips.pop(), width)
            current = width
            if level in attention_levels:
                attend(f"output_blocks.{number}.1", width)
            if level and block == blocks:
                resample(f"output_blocks.{number}.{2 if level in attention_levels else 1}", current, True)
            number += 1
    put("out.0", current)
    put("out.2", out, widths[0], 3, 3)
    return state
