"""From a picture to a restored one, in the browser."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver import ActionChains, Keys

CLIENT = Path(__file__).parents[3] / "client"


def test_a_picture_is_uploaded_restored_and_compared(page: Any, small: Path) -> None:
    page.add(small)
    assert "small.png · PNG · 128 × 96" in page.text("facts")
    page.choose("denoise")
    page.set("noise-number", 20)
    page.run()
    assert "Try 1: Noise" in page.text("facts")
    assert "128 × 96" in page.text("facts")
    assert page["divider"].is_displayed()
    source, width = page.js("const i = document.querySelector('#pane-right img'); return [i.src, i.naturalWidth]")
    assert source.startswith("blob:")
    assert width == 128
    page.until(lambda: page.text("live") == "done")  # announced a moment later, when nothing more follows


def test_an_enlarged_picture_shares_the_frame_of_the_given_one(page: Any, small: Path) -> None:
    page.add(small)
    page.choose("super-resolve")
    page.js("document.querySelector('input[name=scale][value=\"2\"]').click()")
    page.set("steps-number", 1)
    page.run()
    boxes = page.js("return [...document.querySelectorAll('.sheet img')].map(i => i.getBoundingClientRect().width)")
    assert boxes[0] == boxes[1]
    assert "256 × 192" in page.text("facts")


def test_samples_show_where_they_disagree(page: Any, small: Path) -> None:
    page.add(small)
    page.choose("denoise")
    page.set("samples-number", 2)
    page.set("steps-number", 2)
    page.run()
    assert page["overlay"].is_displayed()
    assert float(page.text("legend-top")) > 0
    assert page.js("return document.querySelector('#pane-right .uncertainty').width") == 128
    page["overlay-on"].click()
    page.settled()
    assert not page.all("#pane-right .uncertainty")


def test_a_try_is_changed_and_run_again_and_any_two_are_compared(page: Any, small: Path) -> None:
    page.add(small)
    page.choose("denoise")
    for noise in (10, 40):
        page.set("noise-number", noise)
        page.run()
    assert [item.text.split("\n")[1] for item in page.all("#tries li")] == ["noise 10", "noise 40"]
    page["left"].send_keys("1")
    page.settled()
    left, right = page.js("return [...document.querySelectorAll('.sheet img')].map(i => i.src)")
    assert left.startswith("blob:")
    assert left != right
    page.all("#tries button")[0].click()
    page.settled()
    page["use"].click()
    assert page["noise-number"].get_property("value") == "10"


def test_a_running_job_is_cancelled(page: Any, server: str, budgie: Path) -> None:
    page.add(budgie)
    page.choose("denoise")
    page.set("fidelity-number", 0)
    page.set("steps-number", 60)
    page["run"].click()
    page.until(lambda: "Step" in page.text("progress-words"))
    page.until(lambda: page["emerging"].is_displayed())
    assert page.js("return document.querySelector('#pane-right img').naturalWidth") > 0
    assert "left" in page.text("progress-words")
    page["cancel"].click()
    page.until(lambda: "canceled" in page.text("facts"))
    assert httpx.get(f"{server}/v1/jobs?limit=1").json()["data"][0]["state"] == "canceled"
    assert page.js("return document.activeElement.id") == "stage"  # not lost with the button


def test_what_the_server_refuses_is_said_with_what_to_do(page: Any, tmp_path: Path, budgie: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(budgie.read_bytes()[:30_000])
    page.add(damaged)
    page.run()
    assert page["trouble"].get_attribute("role") == "alert"
    assert "The picture cannot be read" in page.text("trouble")
    assert "Open and save it in a picture editor" in page.text("trouble")
    assert "Failed" in page["pictures"].text


def test_what_the_server_would_refuse_is_said_before_it_is_sent(page: Any, tmp_path: Path, budgie: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("no picture")
    page.add(text)
    assert "not a picture" in page.text("checks")
    assert not page["run"].is_enabled()
    page.add(budgie)
    page.choose("super-resolve")
    page.js("document.querySelector('input[name=scale][value=\"8\"]').click()")
    page.settled()
    assert "at most" in page.text("checks") or "up to 20" in page.text("checks")
    assert not page["run"].is_enabled()
    assert page.text("checks").startswith("That is 50 megapixel-calls")


def test_many_pictures_are_restored_together(page: Any, small: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(small.read_bytes())
    page.add(small, other)
    page.choose("denoise")
    page.settled()
    assert page.text("run-all") == "Restore all 2"
    page["run-all"].click()
    page.until(lambda: page["pictures"].text.count("Done") == 2)


def test_a_mask_is_painted_with_the_pointer_and_with_keys(page: Any, small: Path) -> None:
    page.add(small)
    page.choose("inpaint")
    page.settled()
    assert not page["run"].is_enabled()
    paint = next(button for button in page.all("#own button") if button.text == "Paint on the picture")
    paint.click()
    ActionChains(page.driver).click_and_hold(page["stage"]).move_by_offset(60, 20).release().perform()
    page.settled()
    assert page["run"].is_enabled()
    undo = next(button for button in page.all("#own button") if button.text == "Undo")
    undo.click()
    page.settled()
    assert not page["run"].is_enabled()
    page["stage"].send_keys(Keys.ARROW_LEFT, Keys.SPACE)
    page.settled()
    assert page["run"].is_enabled()
    page.set("steps-number", 1)
    page.run()
    assert "Try 1: Damaged" in page.text("facts")


def test_a_blur_kernel_is_previewed_and_sent(page: Any, server: str, small: Path) -> None:
    page.add(small)
    page.choose("deblur")
    page.js("document.querySelector('input[name=blur][value=motion]').click()")
    page.set("blur-length", 9)
    page.set("blur-angle", 0)
    side = page.js("return document.querySelector('canvas.kernel').width")
    assert side == 11
    page.set("steps-number", 1)
    page.run()
    assert "motion 9 px, 0°" in page.text("facts")
    assert httpx.get(f"{server}/v1/jobs?limit=1").json()["data"][0]["state"] == "succeeded"


@pytest.mark.parametrize("task", ["super-resolve", "deblur"])
def test_the_code_to_copy_makes_the_same_picture(page: Any, small: Path, task: str) -> None:
    page.add(small)
    page.choose(task)
    page.set("steps-number", 1)
    page.set("seed", 7)
    page.run()
    digest = page.js("document.getElementById('details').click(); return document.getElementById('report').textContent")
    page.js("document.getElementById('details-dialog').close()")
    page["code"].click()
    curl, python = page["curl"].text, page["python"].text
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    made = small.parent / f"small-{task}.png"
    for command in (["bash", "-c", curl], [sys.executable, "-c", python]):
        environment = os.environ | {"PYTHONPATH": str(CLIENT)}
        subprocess.run(command, cwd=small.parent, env=environment, check=True, timeout=60, capture_output=True)
        assert hashlib.sha256(made.read_bytes()).hexdigest() in digest
        made.unlink()
