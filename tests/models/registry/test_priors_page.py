"""docs/priors.md says what the registry and the command line say."""

import importlib.util
import re
from pathlib import Path

import pytest

from models.loaders.loaded import LoadOptions
from models.registry import known_facts

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_priors", DOCS / "make_priors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text():
    return (DOCS / "priors.md").read_text(encoding="utf-8")


def test_the_table_is_the_registrys(maker, text):
    assert maker.page(text) == text, "run python docs/make_priors.py"


def test_the_table_says_what_may_be_used_commercially(text):
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if line.startswith("| `")}
    assert "photo" in rows and "Apache-2.0 | yes" in rows["photo"]
    for name, words in (("openai-256-uncond", "**no**"), ("ffhq-256", "unclear"), ("ddpm-church-256", "| yes |")):
        assert words in rows[name], rows[name]
        assert known_facts(name).licence["weights"] in rows[name]


def test_every_command_and_option_on_the_page_exists(text):
    from service.cli.main import cli

    models = cli.commands["models"]
    for command in re.findall(r"pellucid models (\w+)", text):
        assert command in models.commands, command
    for task in re.findall(r"pellucid (?!models)([a-z-]+) \w+\.png", text):
        assert task in cli.commands, task
    options = re.findall(r"--option (\w+)=(\w+)", text)
    LoadOptions.parse({key: int(value) if value.isdigit() else value for key, value in options})
    named = set(re.findall(r"`(\w+)`", text[text.index("There are `native_size`") :].partition(" A class")[0]))
    assert named == set(LoadOptions.__dataclass_fields__)
    known = {parameter.opts[0] for command in models.commands.values() for parameter in command.params}
    assert {"--levels", "--photographs", "--mirror", "--licence", "--option", "--name"} <= known


def test_its_python_names_exist():
    from models import interchange

    for name in ("from_deepinv", "from_diffusers", "sigmas_of", "to_deepinv", "to_diffusers"):
        assert callable(getattr(interchange, name))
