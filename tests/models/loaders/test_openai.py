import math

import pytest
import torch

from models.errors import UnsupportedNetworkError, WrongShapeError
from models.loaders import load
from models.loaders.loaded import LoadOptions
from models.loaders.schedules import alphas_cumprod
from restore.errors import ParameterError
from tests.models.loaders.openai_layout import evaluate, state_dict


def saved(path, **layout):
    state = state_dict(**layout)
    torch.save(state, path)
    return state


def sigma_of(schedule, steps, t):
    shrink = 1000 / steps
    bars = alphas_cumprod(
        {
            "beta_schedule": schedule,
            "num_train_timesteps": steps,
            "beta_start": 1e-4 * shrink,
            "beta_end": 0.02 * shrink,
        }
    )
    return ((1 - bars) / bars).sqrt().float()[t]


VARIANTS = {
    "guided-diffusion": (dict(base=64, multiples=(1, 2)), lambda c: c // 64),
    "fixed variance": (dict(base=64, out=3), lambda c: c // 64),
    "three levels, two blocks": (
        dict(base=64, multiples=(1, 1, 2), blocks=2, attention_levels=(1, 2)),
        lambda c: c // 64,
    ),
    "half the width on top, as the model of 512 pixels": (
        dict(base=64, multiples=(0.5, 1, 1), attention_levels=(2,)),
        lambda c: c // 64,
    ),
    "improved-diffusion": (dict(resampling="convolution", attention_levels=(1,)), 4),
    "shift only": (dict(resampling="convolution", scale_shift=False), 4),
    "resampling without weights": (dict(resampling="none", blocks=2), 4),
    "no attention but in the middle": (dict(resampling="convolution", attention_levels=()), 4),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_denoiser_is_the_networks_own(variant, tmp_path, pictures):
    layout, heads = VARIANTS[variant]
    state = saved(tmp_path / "model.pt", **layout)
    loaded = load(tmp_path / "model.pt")
    x, _ = pictures
    t = torch.tensor([3, 300, 700])
    sigma = sigma_of("linear", 1000, t)
    s = sigma.view(-1, 1, 1, 1)
    eps = evaluate(
        state, x / (1 + s * s).sqrt(), t.float(), blocks=layout.get("blocks", 1), heads=heads,
        resampling=layout.get("resampling", "residual"),
    )[:, :3]  # fmt: skip
    torch.testing.assert_close(loaded.network(x, sigma), (x - s * eps).clamp(-1, 1), rtol=0, atol=1e-4)
    assert loaded.parameters == sum(v.numel() for v in state.values())
    assert loaded.info.multiple_of == 2 ** (len(layout.get("multiples", (1, 2))) - 1)


def test_the_raw_output_agrees_too(tmp_path, pictures):
    """Beyond the clipping, which hides large errors."""
    state = saved(tmp_path / "model.pt", base=64, multiples=(1, 2, 2), attention_levels=(1, 2))
    core = load(tmp_path / "model.pt").core
    t = torch.tensor([0.0, 37.5, 999.0])
    expected = evaluate(state, pictures[0], t, blocks=1, heads=lambda c: c // 64)
    torch.testing.assert_close(core(pictures[0], t), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.parametrize("order", ["legacy", "new"])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_heads_and_order_are_as_asked(order, heads, tmp_path, pictures):
    state = saved(tmp_path / "model.pt")
    loaded = load(tmp_path / "model.pt", options=LoadOptions(heads=heads, attention_order=order))
    t = torch.tensor([1.0, 10.0, 100.0])
    expected = evaluate(state, pictures[0], t, blocks=1, heads=heads, order=order)
    torch.testing.assert_close(loaded.core(pictures[0], t), expected, rtol=1e-4, atol=1e-4)
    assert any("as asked" in sentence and "heads" in sentence for sentence in loaded.assumed)


def test_a_release_is_recognised_by_its_architecture(tmp_path):
    """improved-diffusion's CIFAR-10 model: cosine, 4000 timesteps scaled to 1000, four heads."""
    state = saved(
        tmp_path / "x.pt", base=128, multiples=(1, 2, 2, 2), blocks=3, attention_levels=(1, 2), resampling="convolution"
    )
    loaded = load(tmp_path / "x.pt")
    assert loaded.parameters == sum(v.numel() for v in state.values()) == 52_546_438
    assert loaded.info.native_size == 32 and "cifar10_uncond_50M" in " ".join(loaded.assumed)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sigma = sigma_of("squaredcos_cap_v2", 4000, torch.tensor([2000]))
    eps = evaluate(
        state, x / math.sqrt(1 + sigma**2), torch.tensor([500.0]), blocks=3, heads=4, resampling="convolution"
    )[:, :3]
    torch.testing.assert_close(loaded.network(x, sigma), (x - sigma * eps).clamp(-1, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("label", [None, 0, 4])
def test_a_class_is_asked_for_or_averaged(label, tmp_path, pictures):
    state = saved(tmp_path / "model.pt", classes=5)
    loaded = load(tmp_path / "model.pt", options=LoadOptions(class_label=label, heads=4))
    state["label_emb.weight"] = torch.cat([state["label_emb.weight"], state["label_emb.weight"].mean(0, keepdim=True)])
    t = torch.tensor([1.0, 10.0, 100.0])
    expected = evaluate(state, pictures[0], t, blocks=1, heads=4, label=5 if label is None else label)
    torch.testing.assert_close(loaded.core(pictures[0], t), expected, rtol=1e-4, atol=1e-4)


def test_a_class_that_does_not_exist_is_refused(tmp_path):
    saved(tmp_path / "conditional.pt", classes=5)
    saved(tmp_path / "unconditional.pt")
    for name, message in (("conditional", "classes 0 to 4"), ("unconditional", "no classes")):
        with pytest.raises(ParameterError, match=message):
            load(tmp_path / f"{name}.pt", options=LoadOptions(class_label=5))


@pytest.mark.parametrize(("name", "kind"), [("cd_bedroom256_l2.pt", "consistency"), ("edm_cat256_ema.pt", "edm")])
def test_consistency_models_and_their_teachers(name, kind, tmp_path, pictures):
    """Song et al. 2023, appendix C; the released networks store attention as 2-d convolutions, in the new order."""
    state = saved(tmp_path / name, base=64, out=3, two_dimensional=True, scale_shift=False)
    loaded = load(tmp_path / name)
    assert loaded.prediction == kind
    x, sigma = pictures
    s = sigma.view(-1, 1, 1, 1)
    low = 0.002 if kind == "consistency" else 0.0
    t = 1000 * 0.25 * (sigma + 1e-44).log()
    f = evaluate(state, x / (s**2 + 0.25).sqrt(), t, blocks=1, heads=lambda c: c // 64, order="new")
    d = 0.25 / ((s - low) ** 2 + 0.25) * x + (s - low) * 0.5 / (s**2 + 0.25).sqrt() * f
    torch.testing.assert_close(loaded.network(x, sigma), d.clamp(-1, 1), rtol=0, atol=1e-4)


def test_a_consistency_model_is_the_identity_at_its_smallest_level(tmp_path):
    saved(tmp_path / "ct.pt", base=64, out=3, two_dimensional=True)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(load(tmp_path / "ct.pt").network(x, torch.tensor([0.002])), x)


def test_wrapped_and_prefixed_state_dicts_are_found(tmp_path, pictures):
    state = state_dict()
    plain, wrapped = tmp_path / "plain.pt", tmp_path / "wrapped.pt"
    torch.save(state, plain)
    averaged = {f"module.{k}": v for k, v in state.items()}
    torch.save({"step": 3, "model": {k: v * 0 for k, v in averaged.items()}, "ema": averaged}, wrapped)
    torch.testing.assert_close(load(wrapped).network(*pictures), load(plain).network(*pictures))


def test_half_precision_files_are_read_in_float32(tmp_path, pictures):
    torch.save({k: v.half() for k, v in state_dict().items()}, tmp_path / "half.pt")
    network = load(tmp_path / "half.pt").network
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network(*pictures).dtype == torch.float32


def test_gradients_flow_to_the_picture(tmp_path, pictures):
    saved(tmp_path / "model.pt")
    x = (pictures[0] * 0.1).requires_grad_()
    load(tmp_path / "model.pt").network(x, torch.full((3,), 0.02)).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0


def test_relatives_that_are_no_priors_are_refused(tmp_path):
    state = state_dict()
    relatives = {
        "attention pooling": {**state, "out.2.positional_embedding": torch.zeros(64, 65)},
        "no way up": {k: v for k, v in state.items() if not k.startswith("output_blocks")},
        "conditioned on text": {**state, "middle_block.1.encoder_kv.weight": torch.zeros(1)},
        "upsampler": state_dict(channels=6),
        "no network of RGB": state_dict(channels=4),
        "latent": {f"model.diffusion_model.{k}": v for k, v in state.items()} | {"first_stage_model.x": torch.zeros(1)},
    }
    for message, tensors in relatives.items():
        torch.save(tensors, tmp_path / "relative.pt")
        with pytest.raises(UnsupportedNetworkError, match=message):
            load(tmp_path / "relative.pt")


def test_tensors_that_do_not_fit_are_named(tmp_path):
    state = state_dict()
    path = tmp_path / "broken.pt"
    torch.save(state | {"middle_block.0.in_layers.2.weight": torch.zeros(64, 63, 3, 3)}, path)
    with pytest.raises(WrongShapeError, match=r"middle_block\.0\.in_layers\.2\.weight is \[64, 63, 3, 3\] instead"):
        load(path)
    torch.save({k: v for k, v in state.items() if k != "output_blocks.3.0.out_layers.3.bias"}, path)
    with pytest.raises(WrongShapeError, match=r"output_blocks\.3\.0\.out_layers\.3\.bias is missing"):
        load(path)
    torch.save({k: v for k, v in state.items() if not k.startswith("output_blocks.3")}, path)
    with pytest.raises(WrongShapeError, match="incomplete"):
        load(path)


@pytest.mark.slow
def test_the_ffhq_layout_in_full_agrees_with_deepinvs_network(tmp_path):
    """deepinv's DiffUNet is guided-diffusion's code (through DiffPIR): 93,563,910 parameters, random weights."""
    deepinv = pytest.importorskip("deepinv")
    from tests.models.loaders.conftest import randomise

    theirs = randomise(deepinv.models.DiffUNet(pretrained=None))
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("sqrt_")}
    torch.save(state, tmp_path / "ffhq_10m.pt")
    ours = load(tmp_path / "ffhq_10m.pt")
    assert ours.parameters == 93_563_910 and ours.info.native_size == 256
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.5
    with torch.no_grad():
        for t in (0, 500):
            expected = theirs.forward_diffusion(x, torch.tensor([t]))
            torch.testing.assert_close(ours.core(x, torch.tensor([t])), expected, rtol=1e-4, atol=1e-4)
            sigma = sigma_of("linear", 1000, torch.tensor([t]))
            noisy = x * (1 + sigma**2).sqrt()
            expected = theirs((noisy + 1) / 2, sigma / 2) * 2 - 1
            torch.testing.assert_close(ours.network(noisy, sigma), expected, rtol=1e-3, atol=1e-3)


def test_a_learned_variance_makes_it_a_diffusion_model_however_attention_is_stored(tmp_path):
    saved(tmp_path / "flat.pt", base=64, out=6, two_dimensional=True)
    assert load(tmp_path / "flat.pt").prediction == "epsilon"
