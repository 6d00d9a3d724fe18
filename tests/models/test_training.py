"""Training: it learns, it resumes exactly, it keeps validation pictures apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.crops import Crops
from models.muon import orthogonalise
from models.objective import limited, noise_factors, sample_sigma, with_grey
from models.training import Photographs, Trainer, TrainingConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty small pictures of smooth blobs."""
    rng = np.random.default_rng(0)
    for i in range(40):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(tmp_path / f"{i:02}.png")
    return tmp_path


TINY = {
    "channels": (8, 16),
    "blocks": (1, 1),
    "middle": 1,
    "batch": 4,
    "patch": 16,
    "warmup_steps": 5,
    "synthetic": 0.0,
}


def test_validation_pictures_are_never_trained_on(folder: Path) -> None:
    photographs = Photographs.load(folder, holdout=4)
    assert len(photographs.train) + len(photographs.validation) == 40
    assert 2 <= len(photographs.validation) <= 20
    again = Photographs.load(folder, holdout=4)
    assert all(np.array_equal(a, b) for a, b in zip(photographs.validation, again.validation, strict=True))


def test_folder_without_photographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        Photographs.load(tmp_path)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_lowers_the_loss(folder: Path, tmp_path: Path, optimizer: str) -> None:
    photographs = Photographs.load(folder, holdout=8)
    config = TrainingConfig(**TINY, optimizer=optimizer, lr=1e-2, sigma_low=0.4, high_share=0.0)
    trainer = Trainer(photographs, tmp_path / "run", config)
    batches = Crops(photographs.train, 16).batches(4, 0)
    losses = [trainer.train_step(next(batches), 1.0) for _ in range(60)]
    assert sum(losses[-15:]) < 0.85 * sum(losses[:15])


def test_resumed_training_continues_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    config = TrainingConfig(**TINY)
    batches = [next(Crops(photographs.train, 16).batches(4, seed)) for seed in range(6)]
    straight = Trainer(photographs, tmp_path / "a", config)
    for b in batches:
        straight.train_step(b, 1.0)
    first = Trainer(photographs, tmp_path / "b", config)
    for b in batches[:3]:
        first.train_step(b, 1.0)
    first.save_state()
    second = Trainer(photographs, tmp_path / "b", config)
    assert second.step == 3
    for b in batches[3:]:
        second.train_step(b, 1.0)
    for p, q in zip(straight.ema.parameters(), second.ema.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)


def test_run_ends_with_decayed_weights_and_a_resumable_state(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    for p in range(len(photographs.validation)):
        photographs.validation[p] = np.tile(photographs.validation[p], (4, 4, 1))
    config = TrainingConfig(**TINY, budget_seconds=1.5, decay_seconds=0.5)
    rows = list(Trainer(photographs, tmp_path / "run", config).run())
    assert rows[-1]["done"] and rows[-1]["psnr25"] > 5.0
    assert (tmp_path / "run/ema/diffusion_pytorch_model.safetensors").exists()
    assert (tmp_path / "run/log.csv").read_text().startswith("step,seconds,rate,loss")
    stable = torch.load(tmp_path / "run/state.pt", weights_only=True)
    assert 0 < stable["step"] < rows[-1]["step"]


def test_noise_levels_follow_the_mixture() -> None:
    config = TrainingConfig()
    sigma = sample_sigma(config, 20_000, torch.Generator().manual_seed(0))
    assert config.sigma_low <= sigma.min() and sigma.max() <= config.sigma_max
    assert abs((sigma > config.sigma_high).float().mean().item() - config.high_share) < 0.01


def test_wanted_share_of_patches_holds_another_noise_than_is_told() -> None:
    factors = noise_factors(TrainingConfig(mismatch=0.25), 20_000, torch.Generator().manual_seed(0))
    others = factors[factors != 1.0]
    assert len(others) == 5_000
    assert 0.0 <= others.min() < 0.01 and 1.19 < others.max() <= 1.2


def test_wanted_share_of_patches_holds_grey_noise_and_half_of_them_grey_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    images, noise = torch.rand(2000, 3, 2, 8), torch.randn(2000, 3, 2, 8, generator=generator)
    pictures, noises = with_grey(TrainingConfig(grey=0.2), images, noise, generator)
    grey = (noises == noises[:, :1]).flatten(1).all(1)
    assert abs(grey.float().mean().item() - 0.2) < 0.03
    assert torch.equal(noises[~grey], noise[~grey]) and torch.equal(pictures[~grey], images[~grey])
    turned = (pictures == pictures[:, :1]).flatten(1).all(1)
    assert not turned[~grey].any() and abs(turned[grey].float().mean().item() - 0.5) < 0.1
    scales = noises[:, 0, 0, 0] / noise[:, 0, 0, 0]
    assert torch.allclose(scales[turned], torch.tensor(3**-0.5), rtol=1e-4)  # what tasks tell of grey pictures
    scales = scales[grey & ~turned]
    assert 3**-0.5 - 1e-3 < scales.min() < 0.62 and 0.95 < scales.max() <= 1.0


def test_teacher_is_answered_where_the_noise_is_not_what_is_told(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    config = TrainingConfig(**TINY, mismatch=1.0, grey=0.0, high_share=0.0, sigma_low=0.3)
    batch = next(Crops(photographs.train, 16).batches(4, 0))
    pupil = Trainer(photographs, tmp_path / "alone", config)
    pupil.ema.save_pretrained(tmp_path / "weights")
    taught = Trainer(photographs, tmp_path / "taught", config, init=tmp_path / "weights", teacher=tmp_path / "weights")
    # What it answers already, but for what lies out of range.
    assert taught.train_step(batch, 1.0) < 0.2 * pupil.train_step(batch, 1.0)


def test_teacher_is_answered_elsewhere_as_far_as_is_wanted(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    batch = next(Crops(photographs.train, 16).batches(4, 0))
    shape: dict[str, Any] = {**TINY, "grey": 0.0, "high_share": 0.0, "sigma_low": 0.5}
    Trainer(photographs, tmp_path / "teacher", TrainingConfig(**shape, unshuffle=4)).ema.save_pretrained(tmp_path / "w")

    def loss(distilled: float) -> float:
        """Of a network that answers as its teacher does."""
        config = TrainingConfig(**shape, unshuffle=4, distilled=distilled)
        run = Trainer(photographs, tmp_path / str(distilled), config, init=tmp_path / "w", teacher=tmp_path / "w")
        return float(run.train_step(batch, 1.0))

    assert loss(1.0) < 0.2 * loss(0.0)
    assert loss(0.5) == pytest.approx(0.25 * loss(0.0), rel=0.2)


def test_told_teacher_answers_where_the_noise_is_as_told(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    config = TrainingConfig(**TINY, mismatch=0.5, distilled=1.0)
    teachers = []
    for number in range(2):
        trainer = Trainer(photographs, tmp_path / str(number), TrainingConfig(**TINY, seed=number))
        trainer.ema.save_pretrained(tmp_path / f"weights{number}")
        teachers.append(trainer.ema)
    images, sigma = torch.rand(4, 3, 16, 16) - 0.5, torch.full((4,), 5.0)
    noise = torch.randn_like(images)
    for given, told in ((tmp_path / "weights1", teachers[1]), (None, teachers[0])):
        taught = Trainer(photographs, tmp_path / "run", config, teacher=tmp_path / "weights0", told_teacher=given)
        shown, target = taught._taught(images, sigma, noise)
        for rows, teacher in ((slice(0, 2), teachers[0]), (slice(2, 4), told)):
            answers = teacher(shown[rows] + 5.0 * noise[rows], sigma[rows]).float().clamp(-1.0, 1.0)
            assert not torch.equal(target[rows], shown[rows])
            assert torch.allclose(target[rows], answers, atol=1e-4)


def test_teacher_that_errs_more_than_the_noise_is_not_followed(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    config = TrainingConfig(**TINY, mismatch=1.0)
    trainer = Trainer(photographs, tmp_path / "teacher", config)
    trainer.ema.tail.bias.fill_(100.0)
    trainer.ema.save_pretrained(tmp_path / "weights")
    taught = Trainer(photographs, tmp_path / "taught", config, teacher=tmp_path / "weights")
    images = torch.rand(4, 3, 16, 16) - 0.5
    told = torch.full((4,), 0.2)
    shown, target = taught._taught(images, told, torch.zeros_like(images))
    assert torch.equal(target, shown)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 60, generator=torch.Generator().manual_seed(0))
    for rows in (matrices, matrices.mT):
        singular = torch.linalg.svdvals(orthogonalise(rows).float())
        assert singular.min() > 0.6 and singular.max() < 1.3


def test_new_run_starts_from_released_weights(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    config = TrainingConfig(**TINY)
    first = Trainer(photographs, tmp_path / "first", config)
    first.train_step(next(Crops(photographs.train, 16).batches(4, 0)), 1.0)
    first.ema.save_pretrained(tmp_path / "weights")
    second = Trainer(photographs, tmp_path / "second", config, init=tmp_path / "weights")
    assert second.step == 0
    for p, q in zip(first.ema.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q)


def test_patch_whose_loss_explodes_pulls_as_one_at_the_limit() -> None:
    losses = torch.tensor([0.5, 2.0, 500.0, float("nan")], requires_grad=True)
    mean = limited(losses, torch.tensor(5.0))
    assert mean.item() == pytest.approx(7.5 / 4)
    mean.backward()
    assert losses.grad is not None
    torch.testing.assert_close(losses.grad, torch.tensor([0.25, 0.25, 0.0025, 0.0]))


def test_step_that_is_not_finite_spoils_no_weight(folder: Path, tmp_path: Path) -> None:
    photographs = Photographs.load(folder, holdout=8)
    trainer = Trainer(photographs, tmp_path / "run", TrainingConfig(**TINY))
    batch = next(Crops(photographs.train, 16).batches(4, 0))
    trainer.train_step(batch.float() * float("nan"), 1.0)
    trainer.train_step(batch, 1.0)
    assert trainer.spikes == 4
    assert all(p.isfinite().all() for p in trainer.ema.parameters())
