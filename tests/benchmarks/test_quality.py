"""The collected table: what is picked from the results of the scripts."""

from typing import Any


def table(title: str, columns: list[str], *rows: list[Any]) -> dict[str, Any]:
    return {"title": title, "columns": columns, "rows": list(rows)}


def test_denoising_takes_the_method_that_comes_closest() -> None:
    import quality

    columns = ["method", "sigma 15", "sigma 25"]
    tables = [
        table("All 8 pictures", columns, ["ours, sigma known", 35.0, 33.0], ["CBM3D (literature)", 35.0, 33.0]),
        table("Every 4th picture (2)", columns, ["NLM", 29.0, 27.0], ["ours, sigma known", 33.0, 31.0]),
        table("Every 8th picture (1)", columns, ["CBM3D", 33.0, None], ["ours, sigma known", 33.5, 31.5]),
    ]
    assert list(quality.denoising(tables)) == [
        ("denoising, sigma 15", "PSNR", 33.5, "CBM3D", 33.0),
        ("denoising, sigma 25", "PSNR", 31.0, "NLM", 27.0),
    ]


def test_published_scores_count_for_the_whole_set_only() -> None:
    import quality

    rows = [["ours, sigma known", 35.0, 33.0], ["CBM3D (literature)", 34.9, None], ["DnCNN (literature)", 36.0, 34.0]]
    tables = [table("All 68 pictures", ["method", "sigma 15", "sigma 25"], *rows)]
    assert list(quality.denoising(tables)) == [("denoising, sigma 15", "PSNR", 35.0, "CBM3D (literature)", 34.9)]


def test_super_resolution_is_compared_with_bicubic() -> None:
    import quality

    tables = [
        table("Set5 (5 pictures), PSNR-Y", ["method", "x2"], ["bicubic", 33.7], ["ours, 8 calls", 36.6]),
        table("Set5, SSIM-Y", ["method", "x2"], ["bicubic", 0.93], ["ours, 8 calls", 0.95]),
    ]
    assert list(quality.super_resolution(tables)) == [("super-resolution x2, Set5", "PSNR-Y", 36.6, "bicubic", 33.7)]


def test_other_rows_of_ours_are_no_classical_method() -> None:
    import quality

    rows = [["gamma", 14.0, 0.5], ["equalised", 13.0, 0.4], ["ours", 16.0, 0.6], ["ours, tones only", 15.0, 0.5]]
    tables = [table("20 pairs", ["method", "PSNR", "SSIM"], *rows)]
    assert list(quality.methods(tables)) == [("low light, real pairs", "PSNR", 16.0, "gamma", 14.0)]
