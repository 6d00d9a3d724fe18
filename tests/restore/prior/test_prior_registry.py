import subprocess
import sys

import pytest

from restore.errors import RuntimeUnavailableError, UnknownPriorError
from restore.prior import list_priors, load_prior


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution that offers priors; returns a function of its entry points."""

    def write(entries):
        (tmp_path / "some_priors.py").write_text(
            "def load_denoiser(name, *, runtime, device):\n    return ('loaded', name, runtime, device)\n"
        )
        info = tmp_path / "some_priors-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-priors\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[pellucid.priors]", *lines]) + "\n")

    # Only this folder: the distribution under test may itself be installed and offer priors.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    yield write
    sys.modules.pop("some_priors", None)


def test_priors_are_found_by_entry_point(install):
    install({"default": "some_priors:load_denoiser", "tiny": "some_priors:load_denoiser"})
    assert list_priors() == ("tiny",)
    assert load_prior() == ("loaded", None, "auto", "auto")
    assert load_prior("tiny", runtime="torch", device="cpu") == ("loaded", "tiny", "torch", "cpu")


def test_names_without_an_entry_point_go_to_the_default(install):
    install({"default": "some_priors:load_denoiser"})
    assert load_prior("a/folder") == ("loaded", "a/folder", "auto", "auto")


def test_nothing_installed_is_a_typed_error(install):
    install({})
    with pytest.raises(UnknownPriorError, match=r"installed priors: none.*Reinstall"):
        load_prior()


def test_an_unknown_name_lists_the_known_ones(install):
    install({"tiny": "some_priors:load_denoiser"})
    with pytest.raises(UnknownPriorError, match=r"'huge'.*installed priors: tiny"):
        load_prior("huge")


def test_a_loader_that_cannot_be_imported_names_the_module(install):
    install({"default": "a_missing_module:load_denoiser"})
    with pytest.raises(RuntimeUnavailableError, match="a_missing_module"):
        load_prior()


def test_listing_priors_does_not_import_torch():
    code = "import sys; from restore.prior import list_priors; list_priors(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
