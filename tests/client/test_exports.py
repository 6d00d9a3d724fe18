from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pellucid_client

ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_is_exported_and_nothing_else() -> None:
    public = {
        name
        for name, value in vars(pellucid_client).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    } | {"__version__"}
    assert set(pellucid_client.__all__) == public
    assert list(pellucid_client.__all__) == sorted(pellucid_client.__all__)


def test_modules_are_private() -> None:
    folder = ROOT / "client" / "pellucid_client"
    assert {path.name for path in folder.glob("*.py") if not path.name.startswith("_")} == set()
    assert (folder / "py.typed").exists()


def test_exported_classes_name_the_package_and_are_documented() -> None:
    for name in pellucid_client.__all__:
        value = getattr(pellucid_client, name)
        if inspect.isclass(value):
            assert value.__module__ == "pellucid_client", name
            assert inspect.getdoc(value), name


def test_every_error_is_drawn_in_the_tree() -> None:
    from pellucid_client import _errors

    drawn = _errors.__doc__ or ""
    for name in pellucid_client.__all__:
        value = getattr(pellucid_client, name)
        if inspect.isclass(value) and issubclass(value, pellucid_client.PellucidError):
            assert f"{name} " in drawn or f"{name}\n" in drawn, name


def test_importing_needs_neither_torch_nor_pillow_nor_numpy() -> None:
    heavy = ("torch", "PIL", "numpy", "fastapi", "restore", "models", "service")
    code = (
        f"import sys\nfor name in {heavy}: sys.modules[name] = None\n"
        "import pellucid_client\nprint(pellucid_client.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "client", check=False
    )
    assert done.stdout == f"{pellucid_client.__version__}\n", done.stderr
