"""Whatever a prior was read from, it exports as the embedded one does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import onnx
import pytest
import torch
from onnx import TensorProto

from models.export import export_onnx
from models.export.tensor_rt import build_engine
from models.loaders import converted, load
from models.loaders.loaded import LoadOptions
from tests.models.export.test_onnx import by_onnx_runtime
from tests.models.loaders.test_diffusers_folder import repository, unet
from tests.models.loaders.test_openai import saved as save_openai

#: Noise levels of the two pictures of a call; both leave most of an answer inside of [-1, 1].
SIGMA = torch.tensor([0.15, 0.8])
#: The operators that are needed; TensorRT's parser knows all of them (onnx-tensorrt, docs/operators.md).
TENSORRT_OPERATORS = set(
    """
    Add AveragePool Cast Clip Concat Conv ConvTranspose Cos Div Expand Floor GatherND Gemm InstanceNormalization Less
    LessOrEqual Log MatMul Mul Pow Reciprocal ReduceSum Reshape Resize Shape Sigmoid Sin Slice Softmax Split Sqrt
    Squeeze Sub Transpose Unsqueeze Where
    """.split()  # noqa: SIM905 - a list of forty literals is no easier to read
)
#: It would round float64 to float32.
TENSORRT_TYPES = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}


def edm(folder: Path, *, kind: str, **settings: Any) -> Path:
    """EDM's safetensors."""
    from tests.models.loaders.test_edm import NETWORKS, saved

    return saved(folder / "edm.safetensors", NETWORKS[kind](**settings), metadata={"sigma_data": "0.5"})


def openai(folder: Path, *, name: str = "model.pt", **layout: Any) -> Path:
    """A state dict as guided-diffusion, improved-diffusion and the consistency models save it."""
    save_openai(folder / name, **layout)
    return folder / name


def conversion(folder: Path, **layout: Any) -> Path:
    """The folder that converting such a file writes."""
    converted.save(load(openai(folder, **layout)), folder / "converted")
    return folder / "converted"


def of_diffusers(folder: Path, *, scheduler: str, prediction: str | None = None, **settings: Any) -> Path:
    """A repository of diffusers."""
    how = {} if prediction is None else {"prediction_type": prediction}
    network = unet(**{"block_out_channels": (16, 32), **settings})
    return repository(folder / "repository", network, getattr(diffusers, scheduler)(**how))


@dataclass(frozen=True)
class Case:
    """A checkpoint: who makes it, what its loader must find, the settings it is made with, the class asked for."""

    make: Callable[..., Path]
    prediction: str
    settings: dict[str, Any]
    label: int | None = None


ONE_LEVEL = dict(
    block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False
)
QUICK = {
    "EDM, NCSN++, a class": Case(
        edm, "edm", dict(kind="ncsn++", label_dim=5, channel_mult=(1, 1), attn_resolutions=()), 3
    ),
    "improved-diffusion, learned variance, converted, no class": Case(
        conversion, "epsilon", dict(resampling="convolution", attention_levels=(), classes=5)
    ),
    "a consistency model of OpenAI": Case(
        openai, "consistency",
        dict(name="cd_bedroom256_l2.pt", multiples=(1,), attention_levels=(), out=3, two_dimensional=True),
    ),
    "diffusers, v, no class": Case(
        of_diffusers, "v_prediction",
        dict(scheduler="DDIMScheduler", prediction="v_prediction", num_class_embeds=4, **ONE_LEVEL),
    ),
    "diffusers, sample, learned variance, a class": Case(
        of_diffusers, "sample",
        dict(scheduler="DDPMScheduler", prediction="sample", out_channels=6, num_class_embeds=4, **ONE_LEVEL), 2,
    ),
}  # fmt: skip
SELDOM = {
    "EDM, NCSN++": Case(edm, "edm", dict(kind="ncsn++")),
    "EDM, DDPM++, no class": Case(edm, "edm", dict(kind="ddpm++", label_dim=5)),
    "EDM, ADM, a class": Case(edm, "edm", dict(kind="dhariwal", label_dim=5), 3),
    "guided-diffusion, learned variance, a class": Case(openai, "epsilon", dict(classes=5), 4),
    "improved-diffusion, fixed variance, shift only": Case(
        openai, "epsilon", dict(out=3, resampling="convolution", scale_shift=False)
    ),
    "an EDM network of OpenAI": Case(
        openai, "edm", dict(name="edm_cat256_ema.pt", out=3, two_dimensional=True, resampling="none")
    ),
    "diffusers, epsilon, learned timesteps": Case(
        of_diffusers, "epsilon",
        dict(scheduler="DDPMScheduler", time_embedding_type="learned", num_train_timesteps=1000),
    ),
    "diffusers, EDM": Case(of_diffusers, "edm", dict(scheduler="EDMEulerScheduler", prediction="v_prediction")),
    "diffusers, a consistency model, a class": Case(
        of_diffusers, "consistency",
        dict(
            scheduler="CMStochasticIterativeScheduler", num_class_embeds=4,
            resnet_time_scale_shift="scale_shift", attention_head_dim=16, attn_norm_num_groups=8,
            down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"), downsample_type="resnet",
            up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"), upsample_type="resnet",
        ), 1,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_garbage_collection() -> Iterator[None]:
    """A fifth of an export's time is Python walking over the exporter's many small objects."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "case",
    [
        *(pytest.param(case, id=name) for name, case in QUICK.items()),
        *(pytest.param(case, id=name, marks=pytest.mark.seldom) for name, case in SELDOM.items()),
    ],
)
def test_a_prior_of_every_loader_exports(case, tmp_path, stand_in):
    loaded = load(case.make(tmp_path, **case.settings), options=LoadOptions(class_label=case.label))
    assert loaded.prediction == case.prediction
    path = tmp_path / "prior.onnx"
    export_onnx(loaded.network, loaded.info, path)
    check_answers(loaded, path)
    check_for_tensorrt(loaded, path, stand_in())


def check_answers(loaded, path):
    """ONNX Runtime answers as PyTorch, two pictures of different noise at once and one alone."""
    multiple, side = loaded.info.multiple_of, loaded.info.native_size
    shape = (2, 3, side or 9 * multiple, side or 14 * multiple)
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(shape, generator=generator) - 0.5 + SIGMA.view(-1, 1, 1, 1) * torch.randn(shape, generator=generator)
    expected = loaded.network(x, SIGMA)
    # Clipping hides differences, and so would a network that does nothing.
    assert (expected.abs() < 1).flatten(1).float().mean(1).min() > 0.4 and (expected - x).abs().mean() > 0.1
    torch.testing.assert_close(by_onnx_runtime(path, x, SIGMA), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(by_onnx_runtime(path, x[1:], SIGMA[1:]), expected[1:], rtol=0, atol=1e-4)


def check_for_tensorrt(loaded, path, tensorrt):
    """TensorRT is given the same file, a profile that fits it, and nothing that its parser does not know."""
    tile, data = loaded.info.native_size or 16 * loaded.info.multiple_of, path.read_bytes()
    assert build_engine(data, loaded.info, torch.device("cuda:0"), "fp32", tile, 4) == b"engine"
    assert tensorrt.graph == data
    graph = onnx.load_from_string(data).graph
    assert {value.name for value in graph.input} == tensorrt.shapes.keys()
    for value in graph.input:
        for profile in tensorrt.shapes[value.name]:
            sizes = zip(value.type.tensor_type.shape.dim, profile, strict=True)
            assert all(dim.dim_param or dim.dim_value == size for dim, size in sizes), value.name
    types = {tensor.data_type for tensor in graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)}
    assert types <= TENSORRT_TYPES
    assert {node.op_type for node in graph.node} <= TENSORRT_OPERATORS
