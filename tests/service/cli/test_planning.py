from __future__ import annotations

from pathlib import Path

import click
import pytest

from restore.errors import ParameterError
from service.cli.planning import Plan, plan_pictures


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.png", "b.jpg", "c.HEIC", "notes.txt", ".hidden.png", "deep/d.tif", "deep/.cache/e.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "in"


def pairs(plans: list[Plan]) -> list[tuple[str, str]]:
    return [(str(p.source), str(p.target)) for p in plans]


def test_one_file_goes_where_it_is_told(folder: Path) -> None:
    assert pairs(plan_pictures(["in/a.png"], "x.jpg")) == [("in/a.png", "x.jpg")]


def test_one_file_into_a_folder_keeps_its_name(folder: Path) -> None:
    assert pairs(plan_pictures(["in/a.png"], "new/")) == [("in/a.png", "new/a.png")]
    assert pairs(plan_pictures(["in/a.png"], "in")) == [("in/a.png", "in/a.png")]


def test_a_folder_is_searched_in_depth_without_hidden_or_other_files(folder: Path) -> None:
    assert pairs(plan_pictures(["in"], "out")) == [
        ("in/a.png", "out/a.png"),
        ("in/b.jpg", "out/b.jpg"),
        ("in/c.HEIC", "out/c.png"),
        ("in/deep/d.tif", "out/deep/d.tif"),
    ]


def test_a_format_names_the_suffix_and_keeps_one_that_fits(folder: Path) -> None:
    assert [t for _, t in pairs(plan_pictures(["in"], "out", format="jpeg"))] == [
        "out/a.jpeg", "out/b.jpg", "out/c.jpeg", "out/deep/d.jpeg",
    ]  # fmt: skip


def test_results_inside_the_folder_are_not_read_again(folder: Path) -> None:
    (folder / "restored").mkdir()
    (folder / "restored" / "a.png").write_bytes(b"x")
    assert "in/restored/a.png" not in [s for s, _ in pairs(plan_pictures(["in"], "in/restored"))]


def test_an_output_above_the_folder_hides_nothing(folder: Path) -> None:
    assert len(plan_pictures(["in"], ".")) == 4


def test_a_glob_is_expanded_here_too(folder: Path) -> None:
    assert pairs(plan_pictures(["in/*.[pj]*g"], "out")) == [("in/a.png", "out/a.png"), ("in/b.jpg", "out/b.jpg")]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(folder: Path) -> None:
    (folder / "[1].png").write_bytes(b"x")
    assert pairs(plan_pictures(["in/[1].png"], "x.png")) == [("in/[1].png", "x.png")]


def test_standard_input_and_output(folder: Path) -> None:
    assert plan_pictures(["-"], "-") == [Plan(None, None)]
    assert plan_pictures(["-"], "x.png") == [Plan(None, Path("x.png"))]
    assert plan_pictures(["in/a.png"], "-") == [Plan(Path("in/a.png"), None)]


def test_uncertainty_maps_go_beside_each_other(folder: Path) -> None:
    (single,) = plan_pictures(["in/a.png"], "x.png", uncertainty="map.npy")
    assert single.uncertainty == Path("map.npy")
    many = plan_pictures(["in"], "out", uncertainty="maps")
    assert [str(j.uncertainty) for j in many][1:] == ["maps/b.png", "maps/c.png", "maps/deep/d.png"]


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["missing.png"], "x.png", "no such file or folder: missing.png"),
        (["in/*.gif"], "out", "nothing matches"),
        (["-", "in/a.png"], "out", "give - alone"),
        (["in"], "-", "takes one picture, not 4"),
        (["in"], "in/a.png", "is a file; 4 pictures need a folder"),
        (["in/deep/.cache"], "out", None),
    ],
)
def test_what_does_not_go_together_is_refused(
    folder: Path, inputs: list[str], output: str, message: str | None
) -> None:
    if message is None:
        assert len(plan_pictures(inputs, output)) == 1  # a hidden folder that is named is read
        return
    with pytest.raises(click.UsageError) as caught:
        plan_pictures(inputs, output)
    assert message in caught.value.message


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="no pictures in"):
        plan_pictures([str(tmp_path)], "out")


def test_two_pictures_that_would_become_one_are_refused(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(b"x")
    with pytest.raises(click.UsageError, match=r"would both become out/a\.png"):
        plan_pictures(["in"], "out", format="png")


def test_a_suffix_that_says_no_format_is_refused(folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"x\.txt"):
        plan_pictures(["in/a.png"], "x.txt")


def test_a_format_that_contradicts_the_suffix_is_refused(folder: Path) -> None:
    with pytest.raises(click.UsageError, match="leave one out"):
        plan_pictures(["in/a.png"], "x.png", format="jpeg")
