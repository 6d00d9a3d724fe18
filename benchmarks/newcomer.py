"""From nothing to a restored picture by each of the README's doors: page, curl, Python synchronous and asynchronous.

In an empty folder: a clone, new virtual environments without pip's cache, the README's own lines. Each door's time is
that of what it needs, installation included; the download is this machine's connection's. Needs git, curl, Chromium
and its driver (`pip install -e '.[dev]'` has selenium), and port 8000.

python benchmarks/newcomer.py
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from common import ROOT, Table, circumstances, report
from PIL import Image, ImageChops, ImageStat
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ADDRESS = "http://localhost:8000"
BAR_SECONDS = 300.0


class Watch:
    """Seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure a stage and say it."""
        begun = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - begun
        print(f"{stage}: {self.seconds[stage]:.1f} s", file=sys.stderr)


def environment(folder: Path) -> dict[str, str]:
    """Of somebody whose home is empty."""
    kept = {"PATH": os.environ["PATH"], "LANG": os.environ.get("LANG", "C.UTF-8")}
    return {**kept, "HOME": str(folder), "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def do(command: str | list[str], checkout: Path, bin_: Path | None = None) -> None:
    """Run a line of the README, with an environment's programs first."""
    variables = environment(checkout.parent)
    if bin_ is not None:
        variables["PATH"] = f"{bin_}{os.pathsep}{variables['PATH']}"
    subprocess.run(command, shell=isinstance(command, str), cwd=checkout, env=variables, check=True, text=True)


def readme(checkout: Path, pattern: str) -> str:
    """The first line or block of the README that matches."""
    found = re.search(pattern, (checkout / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"the README has no {pattern!r} any more")
    return found[1]


@contextmanager
def served(checkout: Path, bin_: Path, watch: Watch) -> Iterator[None]:
    """`pellucid serve`, ready."""
    if answers():
        raise SystemExit(f"something answers at {ADDRESS} already")
    with watch.time("start the server"):
        process = subprocess.Popen([bin_ / "pellucid", "serve"], cwd=checkout, env=environment(checkout.parent))
        while not answers():
            if process.poll() is not None:
                raise SystemExit("the server ended")
            time.sleep(0.1)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def answers() -> bool:
    """Whether a server is ready."""
    try:
        return httpx.get(f"{ADDRESS}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def page(picture: Path) -> None:
    """Open the page, give it the picture, restore, and wait until the result is shown."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(f"{ADDRESS}/")
        wait = WebDriverWait(driver, 120.0, 0.05)
        driver.find_element(By.ID, "files").send_keys(str(picture))
        wait.until(lambda _: "·" in driver.find_element(By.ID, "facts").text)
        driver.find_element(By.ID, "run").click()
        wait.until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#tries li"))
        wait.until(lambda _: driver.find_element(By.ID, "live").text == "done")
        wait.until(lambda _: driver.execute_script(
            "const i = document.querySelector('#pane-right img');"
            "return i && i.src.startsWith('blob:') && i.naturalWidth > 0"
        ))  # fmt: skip
    finally:
        driver.quit()


def changed(given: Path, restored: Path) -> None:
    """Make sure that a picture of the same size came back, and not the given one."""
    with Image.open(given) as before, Image.open(restored) as after:
        before_, after_ = before.convert("RGB"), after.convert("RGB")
        difference = ImageStat.Stat(ImageChops.difference(before_, after_)).mean
        if before_.size != after_.size or max(difference) < 1.0:
            raise SystemExit(f"{restored.name} is not a restored {given.name}")


def measure(folder: Path) -> Watch:
    """All stages, in a newcomer's order."""
    watch, checkout = Watch(), folder / "pellucid"
    with watch.time("clone"):
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    install = readme(checkout, r"^## Server$.*?^    (pip install \.)$")
    curl = readme(checkout, r"^    (curl -F image=@\S+ -F task=denoise [^\n]*)$")
    client = readme(checkout, r"\(`(pip install \./client)`")
    both = readme(checkout, r"^    (from pellucid_client import .*?)^From the command line")
    blocks = [part.replace("\n    ", "\n").strip() for part in re.split(r"\n\s*\n", both) if part.strip()]
    imports, synchronous, asynchronous = blocks
    noisy = checkout / "noisy.jpg"
    with Image.open(checkout / "examples" / "noisy.png") as image:
        image.convert("RGB").save(noisy, quality=95)

    server_bin, client_bin = folder / "server" / "bin", folder / "client" / "bin"
    with watch.time("install the server"):
        do([sys.executable, "-m", "venv", str(server_bin.parent)], checkout)
        do(install, checkout, server_bin)
    with watch.time("install the client"):
        do([sys.executable, "-m", "venv", str(client_bin.parent)], checkout)
        do(client, checkout, client_bin)
    with served(checkout, server_bin, watch):
        with watch.time("page"):
            page(noisy)
        with watch.time("curl"):
            do(curl, checkout)
        changed(checkout / "examples" / "noisy.png", checkout / "clean.png")
        wrapped = "\n    ".join(["async def main():", *asynchronous.splitlines()])
        programs = {
            "Python": f"{imports}\n{synchronous}\n",
            "Python, asynchronous": f"import asyncio\n{imports}\n{wrapped}\nasyncio.run(main())\n",
        }
        for name, program in programs.items():
            with watch.time(name):
                do([str(client_bin / "python"), "-c", program], checkout)
            changed(noisy, checkout / "clean.jpg")
            (checkout / "clean.jpg").unlink()
    return watch


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder)).seconds
    stages = Table("Stages", ["stage", "seconds"], 1)
    for stage, value in seconds.items():
        stages.add(stage, value)
    doors = Table("From nothing to a restored picture", ["door", "seconds", "bar", "within"], 1)
    common = seconds["clone"] + seconds["install the server"] + seconds["start the server"]
    for door in ("page", "curl", "Python", "Python, asynchronous"):
        total = common + seconds[door] + (seconds["install the client"] if door.startswith("Python") else 0.0)
        doors.add(door, total, BAR_SECONDS, "yes" if total < BAR_SECONDS else "no")
    notes = [
        "Every line that is run stands in the README; environments are new, pip has no cache, home is empty.",
        "The page is used by headless Chromium: a picture chosen, the button pressed, the result waited for.",
    ]
    report(options.out, "newcomer", "A newcomer's first picture", [doors, stages], notes, circumstances(None))


if __name__ == "__main__":
    main()
