import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from service.observability.metrics import Metrics
from service.problems import Code

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "observability"
#: Of client_python's ProcessCollector, and Prometheus' own.
OTHERS = {"process_resident_memory_bytes", "process_open_fds", "up"}


def expressions():
    dashboard = json.loads((FOLDER / "grafana" / "dashboards" / "pellucid.json").read_text())
    yield from (t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", []))
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    yield from (rule["expr"] for group in rules["groups"] for rule in group["rules"])


@pytest.fixture(scope="module")
def exported():
    """Sample name -> labels."""
    found = {}
    for metric in Metrics().registry.collect():
        names = [metric.name]
        if metric.type == "counter":
            names = [f"{metric.name}_total"]
        elif metric.type == "histogram":
            names = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        found.update(dict.fromkeys(names))
    return found


def test_every_metric_that_is_looked_at_is_exported(exported):
    for text in expressions():
        names = set(re.findall(r"\b(?:pellucid|process)_[a-z_]+|\bup\b", text))
        assert names, text
        assert names <= set(exported) | OTHERS, text


def test_every_metric_of_ours_is_looked_at(exported):
    text = " ".join(expressions())
    for name in exported:
        if name.startswith("pellucid_") and not name.endswith(("_sum", "_count")):
            assert name in text, name


def test_labels_that_are_asked_for_exist():
    metrics = Metrics()
    labels = {"instance", "le", "job"}
    for value in vars(metrics).values():
        labels |= set(getattr(value, "_labelnames", ()))
    for text in expressions():
        for group in re.findall(r"\bby \(([^)]*)\)", text):
            assert {name.strip() for name in group.split(",")} <= labels, text
        for group in re.findall(r"\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)\s*[=!]~?\"", group)) <= labels, text


def test_problem_codes_that_are_asked_for_exist():
    codes = {code for text in expressions() for code in re.findall(r'pellucid_problems_total\{[^}]*code="(\w+)"', text)}
    assert codes and codes <= {str(code.value) for code in Code}


def test_panels_do_not_overlap():
    taken = set()
    for panel in json.loads((FOLDER / "grafana" / "dashboards" / "pellucid.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_alerts_fire_when_they_should():
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool (Debian: prometheus) is not installed")
    done = subprocess.run(
        [program, "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_every_panel(tmp_path):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool (Debian: prometheus) is not installed")
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, text in enumerate(expressions())
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [program, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
