"""R20: nothing that can run code from data is imported or called anywhere in the packages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("restore", "models", "service", "client/pellucid_client")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
#: Modules that unpickle, or that send pickles between processes.
FORBIDDEN = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "multiprocessing", "yaml"}
CALLS = {"eval", "exec", "PickleType"}


def offences(tree: ast.AST) -> list[str]:
    found = []
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "pickle"}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=[ast.alias(name="pickle", asname=None)]) if used == {"UnpicklingError"}:
                pass  # the name of what torch raises when it refuses
            case ast.Import(names=names):
                found += [f"{node.lineno}: import {n.name}" for n in names if n.name.split(".")[0] in FORBIDDEN]
            case ast.ImportFrom(module=str(module), level=0) if module.split(".")[0] in FORBIDDEN:
                found.append(f"{node.lineno}: from {module}")
            case ast.ImportFrom(module="concurrent.futures", names=names):
                found += [f"{node.lineno}: {n.name}" for n in names if n.name == "ProcessPoolExecutor"]
            case ast.Call(func=function, keywords=keywords):
                name, given = ast.unparse(function), {k.arg: ast.unparse(k.value) for k in keywords}
                safe = given.get("weights_only") == "True"
                if (
                    name in ("torch.load", "load_state_dict_from_url", "torch.hub.load_state_dict_from_url")
                    and not safe
                ):
                    found.append(f"{node.lineno}: {name} without weights_only=True")
                elif name in CALLS or name.endswith(".PickleType") or given.get("allow_pickle") == "True":
                    found.append(f"{node.lineno}: {name}")
                elif given.get("weights_only") == "False" or given.get("use_safetensors") == "False":
                    found.append(f"{node.lineno}: {name} lets pickles in")
                elif given.get("trust_remote_code") == "True":
                    found.append(f"{node.lineno}: {name} trusts remote code")
    return found


def test_there_is_something_to_look_at():
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_unpickles(path):
    assert offences(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "import pickle\npickle.UnpicklingError\npickle.loads(data)", "import pickle as p",
        "from pickle import loads", "import multiprocessing.pool", "torch.load(path)",
        "torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)", "eval(text)",
        "Column(types.PickleType())", "from concurrent.futures import ProcessPoolExecutor",
        "Model.from_pretrained(x, use_safetensors=False)", "load(x, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_what_is_looked_for_is_found(code):
    assert offences(ast.parse(code))


def test_a_pickle_that_runs_code_is_refused_by_the_loader_of_old_checkpoints(tmp_path):
    """`weights_only` lets tensors pass and nothing else."""
    import os
    import pickle

    import torch

    class Poison:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    torch.save({"weights": Poison()}, tmp_path / "poison.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "poison.pt", weights_only=True)
    assert not (tmp_path / "was here").exists()
