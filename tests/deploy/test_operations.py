import json
import re
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
CONTAINERS = (ROOT / "docs" / "containers.md").read_text()
QUOTED = re.compile(r"(-?[\d,]*\.?\d+)<!--=(.+?)-->")


def result(name):
    """result(table, first cells of a row..., column), or result(key, ...) of a file without tables."""
    stored = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())

    def look(*path):
        if "tables" not in stored:
            value = stored
            for key in path:
                value = value[key]
            return value
        table, *cells, column = path
        (row,) = [row for row in stored["tables"][table]["rows"] if row[: len(cells)] == cells]
        return row[column]

    return look


class Names(dict):
    def __missing__(self, name):
        return result(name)


def value(expression):
    names = Names(setting=lambda name: Settings.model_fields[name].default, __builtins__={"round": round})
    return eval(expression, names)


@pytest.mark.parametrize(("text", "expression"), QUOTED.findall(GUIDE + CONTAINERS))
def test_a_figure_is_the_one_of_its_result_file(text, expression):
    digits = len(text.partition(".")[2])
    assert float(text.replace(",", "")) == pytest.approx(
        round(float(value(expression)), digits), abs=10.0**-digits / 1e3
    )


def test_figures_are_quoted_with_where_they_come_from():
    plain = QUOTED.sub("", GUIDE)
    measured = re.findall(r"\d[\d,.]* (?:s|ms|seconds|GiB|MiB|core-seconds)\b", plain)
    # Not measurements: the length of a burst, and headings of the tables, which name the sizes that were measured.
    assert [text for text in measured if text not in ("20 s",)] == []
    assert len(QUOTED.findall(GUIDE)) > 40


def test_settings_and_metrics_that_are_named_exist():
    from service.observability.metrics import Metrics

    known = {f"PELLUCID_{name.upper()}" for name in Settings.model_fields} | {"PELLUCID_PRIORS"}
    assert set(re.findall(r"PELLUCID_\w+", GUIDE)) <= known
    metrics = set()
    for metric in Metrics().registry.collect():
        metrics.add(f"{metric.name}_total" if metric.type == "counter" else metric.name)
    assert set(re.findall(r"pellucid_[a-z_]+", GUIDE)) <= metrics


def test_problem_codes_and_files_that_are_named_exist():
    from service.problems import Code

    codes = set(re.findall(r'pellucid_problems_total\{code="(\w+)"\}', GUIDE))
    codes |= set(re.findall(r"(?:503|fails with) `(\w+)`", GUIDE))
    assert codes <= {code.value for code in Code}
    for link in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / link).exists(), link
