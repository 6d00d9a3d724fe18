"""The entries of the checkpoints that this field's papers use."""

import re

import pytest

from models.loaders.loaded import LoadOptions
from models.registry import CATALOGUE, known_facts, list_known
from models.registry.pull import urls

NAMED = {
    "openai-256-uncond", "openai-64-cond", "openai-128-cond", "openai-256-cond", "openai-512-cond", "ffhq-256",
    "ddpm-celebahq-256", "ddpm-church-256", "ddpm-bedroom-256", "ddpm-cifar10-32", "consistency-cd-imagenet64",
    "consistency-ct-bedroom256", "consistency-cd-cat256", "ldm-super-resolution-4x", "sd-x4-upscaler",
}  # fmt: skip


def test_every_checkpoint_that_papers_use_is_known():
    assert {facts.name for facts in list_known()} >= NAMED


@pytest.mark.parametrize("name", sorted(path.stem for path in CATALOGUE.glob("*.json")))
def test_an_entry_is_complete_and_honest(name):
    facts = known_facts(name)
    assert facts.licence.keys() == {"code", "weights", "commercial"} and all(facts.licence.values())
    assert facts.licence["commercial"] in ("yes", "no", "unclear")
    assert facts.citation and facts.schedule and facts.hints["memory_gib"] > 0 and facts.hints["estimated"]
    assert facts.parameters > 1e6 and 0 < facts.sigma_min < facts.sigma_max and facts.multiple_of >= 1
    assert all(url.startswith("https://") for file in facts.files for url in urls(facts, file))
    assert all(urls(facts, file) for file in facts.files)
    LoadOptions.parse(facts.options)
    hashed = [entry for entry in facts.files.values() if entry["sha256"]]
    assert all(re.fullmatch("[0-9a-f]{64}", entry["sha256"]) for entry in hashed)
    # A hash is stated with where it is from, or not at all.
    assert bool(hashed) == ("sha256_from" in facts.source)
    if "research" in facts.licence["weights"] or "non-commercial" in facts.notes:
        assert facts.licence["commercial"] != "yes"


@pytest.mark.parametrize("name", ["openai-128-cond", "ffhq-256"])
def test_an_entry_agrees_with_what_the_loader_reads(name, tmp_path):
    """The architecture by which a release is recognised has the entry's parameters, size and noise levels."""
    import torch

    from models.guided_unet import GuidedUNet, GuidedUNetConfig
    from models.loaders import openai
    from models.loaders.openai_releases import RELEASES
    from models.loaders.parametrisation import parametrised

    facts = known_facts(name)
    title = {"openai-128-cond": "128x128_diffusion"}.get(name, "ffhq_10m")
    (key, flags), = [(k, v[1]) for k, v in RELEASES.items() if v[0].startswith(title)]  # fmt: skip
    base, multiples, blocks, levels, conditional, resampling = key
    attention = tuple(level in levels for level in range(len(multiples)))
    config = GuidedUNetConfig(
        base, multiples, blocks, attention, resampling=resampling, classes=1000 if conditional else 0,
        heads=flags.heads, head_channels=flags.head_channels,
    )  # fmt: skip
    with torch.device("meta"):
        network = GuidedUNet(config)
    assert sum(p.numel() for p in network.parameters()) == facts.parameters
    assert config.multiple_of == facts.multiple_of and flags.native_size == facts.native_size
    known = parametrised(network, openai._scheduler("diffusion", flags, LoadOptions(), learned=True))
    assert known.sigma_min == pytest.approx(facts.sigma_min, rel=1e-4)
    assert known.sigma_max == pytest.approx(facts.sigma_max, rel=1e-2)
