import numpy as np
import pytest
import torch

from models.error_table import SIGMAS, central_crops, load_error_table, measure_error_table, save_error_table
from restore.errors import CorruptWeightsError
from restore.prior import ErrorTable, GaussianDenoiser, power_law_spectrum


def test_the_gaussian_denoiser_measures_its_analytic_error():
    prior = GaussianDenoiser(torch.zeros(3, 16, 16), spectrum=power_law_spectrum(16, 16))
    pictures = list(prior.sample(60, torch.Generator().manual_seed(0)))
    table = measure_error_table(prior, pictures)
    assert table.sigma == SIGMAS and len(SIGMAS) == 16 and SIGMAS[0] == 0.005 and SIGMAS[-1] == pytest.approx(10.0)
    exact = prior.error(torch.tensor(SIGMAS))
    torch.testing.assert_close(torch.tensor(table.mse, dtype=torch.float64), exact, rtol=0.1, atol=0)
    torch.testing.assert_close(
        table(torch.tensor([0.033])).double(), prior.error(torch.tensor([0.033])), rtol=0.1, atol=0
    )


def test_measuring_twice_gives_the_same_table():
    prior = GaussianDenoiser(torch.zeros(1, 4, 4), torch.eye(16))
    pictures = list(prior.sample(2, torch.Generator().manual_seed(0)))
    assert measure_error_table(prior, pictures, (0.1, 1.0)) == measure_error_table(prior, pictures, (0.1, 1.0))


@pytest.mark.parametrize("sigmas", [(0.1,), (0.2, 0.1), (0.0, 0.1), (0.1, 0.1)])
def test_levels_that_make_no_table_are_refused(sigmas):
    prior = GaussianDenoiser(torch.zeros(1, 2, 2), torch.eye(4))
    with pytest.raises(ValueError, match="rising"):
        measure_error_table(prior, [torch.zeros(1, 2, 2)], sigmas)


def test_no_pictures_is_refused():
    with pytest.raises(ValueError, match="no pictures"):
        measure_error_table(GaussianDenoiser(torch.zeros(1, 2, 2), torch.eye(4)), [])


def test_crops_are_central_scaled_and_leave_out_small_photographs():
    photograph = np.zeros((8, 11, 3), np.uint8)
    photograph[2:6, 3:7] = 255
    crops = central_crops([photograph, photograph[:3]], 4)
    assert len(crops) == 1 and torch.equal(crops[0], torch.ones(3, 4, 4))


def test_a_table_survives_its_file(tmp_path):
    table = ErrorTable((0.01, 0.5, 10.0), (1e-5, 3e-3, 0.25))
    save_error_table(table, tmp_path / "table.json")
    assert load_error_table(tmp_path / "table.json") == table


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"sigma": [1, 2]}',
        '{"sigma": [2, 1], "mse": [1, 1]}',
        '{"sigma": [1, 2], "mse": [1, NaN]}',
        '{"sigma": [1, 2], "mse": [1]}',
        '{"sigma": ["a", 2], "mse": [1, 2]}',
    ],
)
def test_a_damaged_table_is_named(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(CorruptWeightsError, match=r"table\.json"):
        load_error_table(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(CorruptWeightsError, match=r"none\.json"):
        load_error_table(tmp_path / "none.json")
