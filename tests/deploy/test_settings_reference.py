import importlib.util
from pathlib import Path

from service.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("make_settings_reference", DOCS / "make_settings_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date():
    assert (DOCS / "settings.md").read_text() == generator().render(), "run docs/make_settings_reference.py"


def test_every_setting_is_described():
    missing = [name for name, field in Settings.model_fields.items() if not field.description]
    assert not missing


def test_every_setting_is_in_a_group():
    groups = generator().group_names()
    assert next(iter(Settings.model_fields)) in groups
    assert {"Engine", "Jobs", "Protection", "Observability"} <= set(groups.values())
