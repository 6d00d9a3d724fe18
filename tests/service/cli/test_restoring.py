from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]
Picture = Callable[..., Path]

REPORT = {"task", "parameters", "found", "seed", "nfe", "seconds", "prior", "digest", "runtime", "warnings"}


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def test_denoise_writes_a_picture_of_the_same_size(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    done = restoring("denoise", picture(width=41, height=33), tmp_path / "out.png", "--noise", 20)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "denoise, noise 20" in done.stderr
    assert opened(tmp_path / "out.png").size == (41, 33)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["super-resolve", "--scale", 2, "--steps", 2], (80, 64)),
        (["low-light-enhance", "--exposure", 1], (40, 32)),
        (["deblur", "--kernel", "gaussian:1", "--steps", 2, "--noise", 3], (40, 32)),
        (["colorize", "--steps", 2], (40, 32)),
        (["dejpeg", "--quality", 30, "--steps", 2], (40, 32)),
        (["restore"], (40, 32)),
        (["restore", "--task", "super-resolve", "--scale", 3, "--steps", 2], (120, 96)),
    ],
)
def test_every_task(
    restoring: Run, picture: Picture, tmp_path: Path, arguments: list[object], size: tuple[int, int]
) -> None:
    name, *options = arguments
    done = restoring(name, picture(), tmp_path / "out.png", *options)
    assert done.exit_code == 0, done.output
    assert opened(tmp_path / "out.png").size == size


def test_inpaint_leaves_everything_outside_the_mask(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    mask = np.zeros((32, 40), np.uint8)
    mask[10:16, 12:20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    given = picture()
    done = restoring("inpaint", given, tmp_path / "out.png", "--mask", tmp_path / "mask.png", "--steps", 3)
    assert done.exit_code == 0, done.output
    before, after = np.asarray(opened(given)), np.asarray(opened(tmp_path / "out.png"))
    changed = (before != after).any(axis=2)
    assert changed.any() and not changed[mask == 0].any()


def test_json_says_what_was_done(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    given = picture()
    done = restoring("denoise", given, tmp_path / "out.png", "--json", "--seed", 7, "--steps", 3, "--fidelity", 0.5)
    record = json.loads(done.stdout)
    assert record.keys() >= REPORT
    assert (record["input"], record["output"]) == (str(given), str(tmp_path / "out.png"))
    assert (record["task"], record["seed"], record["nfe"]) == ("denoise", 7, 3)
    assert record["parameters"]["fidelity"] == 0.5
    assert record["found"]["noise"] > 0 and record["seconds"] > 0


def test_the_same_seed_gives_the_same_file(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    given = picture()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ["--noise", 20, "--fidelity", 0, "--steps", 3, "--seed", seed]
        assert restoring("denoise", given, tmp_path / f"{name}.png", *options).exit_code == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_standard_input_to_standard_output(restoring: Run, picture: Picture) -> None:
    done = restoring("denoise", "-", "-", "--noise", 20, "--format", "jpeg", input=picture().read_bytes())
    assert done.exit_code == 0
    image = Image.open(io.BytesIO(done.stdout_bytes))
    assert (image.format, image.size) == ("JPEG", (40, 32))


def test_standard_output_keeps_the_format_of_the_input(restoring: Run, picture: Picture) -> None:
    done = restoring("denoise", "-", "-", "--noise", 20, input=picture("in.webp").read_bytes())
    assert Image.open(io.BytesIO(done.stdout_bytes)).format == "WEBP"


def test_a_folder_with_a_broken_picture_restores_the_others(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    picture("in/a.png")
    picture("in/deep/c.png", seed=1)
    (tmp_path / "in" / "b.png").write_text("not a picture")
    done = restoring("denoise", tmp_path / "in", tmp_path / "out", "--noise", 20, "--json")
    assert done.exit_code == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r.get("error", {}).get("code") for r in records] == [None, "undecodable_image", None]
    assert f"pellucid: {tmp_path / 'in' / 'b.png'}" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.png")) == ["a.png", "c.png"]


def test_several_files_and_a_glob(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    for name in ("in/a.png", "in/b.png", "c.jpg"):
        picture(name)
    done = restoring("denoise", tmp_path / "in/*.png", tmp_path / "c.jpg", tmp_path / "out", "--noise", 20, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.jpg"]


def test_an_existing_file_is_kept_unless_told(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    given, target = picture(), tmp_path / "out.png"
    target.write_bytes(b"precious")
    done = restoring("denoise", given, target, "--noise", 20)
    assert done.exit_code == 1 and "--overwrite" in done.stderr
    assert target.read_bytes() == b"precious"
    assert restoring("denoise", given, target, "--noise", 20, "--overwrite").exit_code == 0
    assert opened(target).size == (40, 32)


def test_a_picture_can_be_restored_in_place(restoring: Run, picture: Picture) -> None:
    given = picture()
    before = given.read_bytes()
    assert restoring("denoise", given, given, "--noise", 20, "--overwrite").exit_code == 0
    assert given.read_bytes() != before and opened(given).size == (40, 32)


def test_uncertainty_is_written_beside_the_mean(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    options = ["--noise", 20, "--samples", 3, "--steps", 2, "--json"]
    done = restoring("denoise", picture(), tmp_path / "out.png", "--uncertainty", tmp_path / "map.npy", *options)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["uncertainty"] == str(tmp_path / "map.npy")
    chart = np.load(tmp_path / "map.npy")
    assert chart.shape == (32, 40) and chart.min() >= 0 and chart.max() > 0


def test_strength_nought_returns_what_was_given(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    given = picture()
    restoring("denoise", given, tmp_path / "out.png", "--noise", 20, "--strength", 0)
    assert np.array_equal(np.asarray(opened(given)), np.asarray(opened(tmp_path / "out.png")))


def test_the_place_is_removed_unless_asked(restoring: Run, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    given = tmp_path / "in.jpg"
    Image.new("RGB", (32, 32), "gray").save(given, exif=exif)
    for name, options in (("without.jpg", []), ("with.jpg", ["--keep-gps"])):
        assert restoring("denoise", given, tmp_path / name, "--noise", 5, *options).exit_code == 0
    assert dict(opened(tmp_path / "without.jpg").getexif().get_ifd(0x8825)) == {}
    assert opened(tmp_path / "without.jpg").getexif()[0x0110] == "Camera"
    assert opened(tmp_path / "with.jpg").getexif().get_ifd(0x8825)[1] == "N"


def huge_header() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels in 70 bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"this is text", "holds text"),
        (b"", "empty"),
        (bytes(1000), "zero bytes only"),
        (png(64, 64)[:-40], "damaged or incomplete"),
        (huge_header(), "megapixels"),
        (png(1, 50), "at least 2 x 2"),
    ],
    ids=["text", "empty", "zeros", "truncated", "gigantic", "one pixel wide"],
)
def test_bad_pictures_fail_with_one_line(restoring: Run, tmp_path: Path, data: bytes, said: str) -> None:
    given = tmp_path / "in.png"
    given.write_bytes(data)
    done = restoring("denoise", given, tmp_path / "out.png", "--noise", 20)
    assert done.exit_code == 1
    assert done.stderr.startswith("pellucid: ") and done.stderr.count("\n") == 1
    assert str(given) in done.stderr and said in done.stderr
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["super-resolve", "IN", "out.png", "--scale", "5"], "'5' is not one of"),
        (["denoise", "IN", "out.png", "--noise", "300"], "between 0 and 255"),
        (["denoise", "IN", "out.png", "--fidelity", "2"], "0.0<=x<=1.0"),
        (["denoise", "IN", "out.png", "--samples", "4", "--fidelity", "1"], "lower fidelity"),
        (["denoise", "IN", "out.png", "--uncertainty", "m.png"], "--samples"),
        (["denoise", "IN", "out.png", "--uncertainty", "m.txt", "--samples", "2"], ".png or .npy"),
        (["denoise", "IN", "out.xyz"], "'.xyz'"),
        (["denoise", "IN"], "Missing argument"),
        (["denoise", "missing.png", "out.png"], "no such file or folder: missing.png"),
        (["denoise", "IN", "-", "--json"], "cannot both go to standard output"),
        (["deblur", "IN", "out.png"], "--kernel"),
        (["deblur", "IN", "out.png", "--kernel", "gaussian:-2"], "sigma"),
        (["inpaint", "IN", "out.png"], "--mask"),
        (["restore", "IN", "out.png", "--task", "deblur"], "needs --kernel"),
        (["restore", "IN", "out.png", "--task", "sharpen"], "sharpen"),
        (["denoise", "IN", "out.png", "--nosie", "3"], "--nosie"),
        (["denosie", "IN", "out.png"], "denosie"),
    ],
)
def test_wrong_command_lines_end_with_2(
    run: Run, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = str(picture())
    done = run(*[given if a == "IN" else a for a in arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith("pellucid: ") and done.stderr.count("\n") == 1
    assert said in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_a_mask_of_another_size_fails(restoring: Run, picture: Picture, tmp_path: Path) -> None:
    Image.new("L", (10, 10), 255).save(tmp_path / "mask.png")
    done = restoring("inpaint", picture(), tmp_path / "out.png", "--mask", tmp_path / "mask.png")
    assert done.exit_code == 1
    assert "10x10" in done.stderr and "40x32" in done.stderr


@pytest.mark.parametrize("output", ["missing/out.png", "in.png/out.png", "/proc/out.png"])
def test_outputs_that_cannot_be_written(
    restoring: Run, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    picture()
    done = restoring("denoise", "in.png", output, "--noise", 20)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1 and output in done.stderr


def test_an_unknown_prior_ends_with_3(run: Run, picture: Picture, tmp_path: Path) -> None:
    for name in ("imaginary", "./imaginary"):
        done = run("denoise", picture(), tmp_path / "out.png", "--prior", name)
        assert done.exit_code == 3
        assert name in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", [["--device", "cuda:99"], ["--device", "abacus"], ["--runtime", "steam"]])
def test_unknown_devices_and_runtimes_end_with_3(
    run: Run, picture: Picture, tmp_path: Path, tiny_prior: Path, option: list[str]
) -> None:
    done = run("denoise", picture(), tmp_path / "out.png", "--prior", tiny_prior, *option)
    assert done.exit_code == 3
    assert option[1] in done.stderr and done.stderr.count("\n") == 1


def test_the_tile_is_the_user_s(
    run: Run, picture: Picture, tmp_path: Path, tiny_prior: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restore.prior.tiled import Tiling

    cut: list[int] = []
    original = Tiling.cut
    monkeypatch.setattr(Tiling, "cut", lambda self, *call: cut.append(self.tile) or original(self, *call))
    done = run("denoise", picture(), tmp_path / "out.png", "--prior", tiny_prior, "--tile", 64)
    assert done.exit_code == 0, done.output
    assert set(cut) == {64}


def test_corrupt_weights_end_with_3(run: Run, picture: Picture, tmp_path: Path, tiny_prior: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_prior.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[: -100 if file.suffix == ".safetensors" else None])
    done = run("denoise", picture(), tmp_path / "out.png", "--prior", broken)
    assert done.exit_code == 3
    assert "safetensors" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_an_unforeseen_error_is_one_line_too(
    restoring: Run, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restore import Restorer

    def fault(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug\nin two lines")

    monkeypatch.setattr(Restorer, "restore", fault)
    monkeypatch.delenv("PELLUCID_DEBUG", raising=False)
    done = restoring("denoise", picture(), tmp_path / "out.png")
    assert done.exit_code == 1
    assert "unexpected RuntimeError: a bug; PELLUCID_DEBUG=1 says where" in done.stderr
    assert done.stderr.count("\n") == 1
    monkeypatch.setenv("PELLUCID_DEBUG", "1")
    assert "Traceback" in restoring("denoise", picture(), tmp_path / "out.png").stderr


def test_a_folder_of_pictures_loads_the_prior_once(
    run: Run, tiny_prior: Path, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models import registry
    from models.registry import load_folder
    from restore.prior import release_priors

    loads = []

    def counted(*arguments: object, **given: object) -> object:
        loads.append(arguments)
        return load_folder(tiny_prior, device="cpu", runtime="torch")

    for name in ("load_denoiser", "load_path"):
        monkeypatch.setattr(registry, name, counted)
    for index in range(3):
        picture(f"in/{index}.png", seed=index)
    for prior in ([], ["--prior", tiny_prior]):
        release_priors()
        loads.clear()
        done = run("denoise", tmp_path / "in", tmp_path / f"out{len(prior)}", "--noise", 20, "--device", "cpu", *prior)
        assert done.exit_code == 0, done.output
        assert len(loads) == 1 and len(list((tmp_path / f"out{len(prior)}").iterdir())) == 3
    release_priors()
