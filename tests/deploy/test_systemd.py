import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.runtime import cache
from service.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
UNIT = (FOLDER / "pellucid.service").read_text()


def directive(name):
    return re.search(rf"^{name}=(.*)$", UNIT, re.MULTILINE)[1]


def test_the_unit_is_valid(tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "pellucid.service"
    unit.write_text(UNIT.replace("/opt/pellucid/bin/pellucid", sys.executable))
    done = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "pellucid.service" not in done.stderr, done.stderr


def test_the_server_may_drain():
    assert int(directive("TimeoutStopSec")) > Settings.model_fields["drain_seconds"].default + 10
    assert directive("KillMode") == "mixed"


def test_variables_are_settings():
    named = dict(
        re.findall(
            r"^(?:Environment=)?(PELLUCID_\w+)=(.*)$", UNIT + (FOLDER / "pellucid.env").read_text(), re.MULTILINE
        )
    )
    assert named.keys() - {cache.VARIABLE} <= {f"PELLUCID_{name.upper()}" for name in Settings.model_fields}
    assert named["PELLUCID_DATA_DIR"] == f"/var/lib/{directive('StateDirectory')}"
    # A folder inside: /var/cache/pellucid itself is a link where the user is a dynamic one.
    assert named[cache.VARIABLE] == f"/var/cache/{directive('CacheDirectory')}/runtimes"
