"""A real server process, and a headless Chromium that looks at its page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
DATA = Path(__file__).parents[2] / "data"
SERVE = "from service.cli.main import main; main()"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `pellucid serve` with the embedded prior."""
    limits = {"PELLUCID_MAX_WORK": "20", "PELLUCID_MAX_PIXELS": "1000000"}
    with serving(tmp_path_factory.mktemp("server"), limits) as address:
        yield address


@contextmanager
def serving(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The address of a server process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", "--port", str(port), "--data-dir", str(folder)]
    environment = os.environ | {"PELLUCID_DRAIN_SECONDS": "1"} | settings
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        address = f"http://127.0.0.1:{port}"
        try:
            _until_ready(process, address, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def locked_server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server that asks for a key, and the key."""
    command = [sys.executable, "-c", SERVE, "keys", "new", str(tmp_path / "keys")]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    key = next(word for word in made.stdout.split() if word.startswith("plk_"))
    with serving(tmp_path, {"PELLUCID_AUTH": "required", "PELLUCID_API_KEYS_FILE": str(tmp_path / "keys")}) as address:
        yield address, key


def _until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after a minute:\n{log.read_text()}")


class Page:
    """The page in the browser."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, width: int = 1280, height: int = 800, *, dark: bool = False, touch: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(f"{self.address}/")
        self.until(lambda: self.text("limits"))

    def __getitem__(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, name: str) -> str:
        return self[name].text.replace("\u202f", " ")

    def js(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        WebDriverWait(self.driver, seconds, 0.05).until(lambda _: condition())

    def add(self, *files: Path) -> None:
        before = len(self.all("#pictures > li"))
        self["files"].send_keys("\n".join(str(file) for file in files))
        self.until(lambda: len(self.all("#pictures > li")) == before + len(files))
        self.until(lambda: "Opening" not in self["pictures"].text and "·" in self.text("facts"))

    def choose(self, task: str) -> None:
        self.js('document.querySelector(`#tasks input[value="${arguments[0]}"]`).click()', task)

    def set(self, name: str, value: object) -> None:
        """A number of the settings."""
        self.js("document.getElementById('more').open = true")
        self.js(
            "const box = document.getElementById(arguments[0]); box.disabled = false; box.value = arguments[1];"
            "box.dispatchEvent(new Event('input'))",
            name,
            value,
        )

    def run(self) -> None:
        """Press the button and wait for the end."""
        self["run"].click()
        self.until(lambda: self.all("#tries li"))
        self.until(lambda: not self["running"].is_displayed())

    def settled(self) -> None:
        """Wait until what was asked for is drawn."""
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def errors(self) -> list[str]:
        """What the browser's console holds, the page's own failed requests aside."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if "Failed to load resource" not in entry["message"]]


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with its driver is installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(chromium: webdriver.Chrome, server: str) -> Iterator[Page]:
    """The page, opened wide and light; whatever it does, its console stays free of errors."""
    page = Page(chromium, server)
    page.open()
    yield page
    assert page.errors() == []


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A photograph that is restored in a second."""
    path = tmp_path / "small.png"
    with Image.open(DATA / "budgie.png") as image:
        image.crop((128, 64, 256, 160)).save(path)
    return path


@pytest.fixture
def budgie() -> Path:
    return DATA / "budgie.png"
