"""Looking closely: divider, zoom, panning; with pointer, keys, on a narrow screen, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys


@pytest.fixture
def restored(page: Any, small: Path) -> Any:
    page.add(small)
    page.choose("denoise")
    page.set("noise-number", 20)
    page.run()
    return page


def boxes(page: Any) -> list[tuple[float, ...]]:
    """Left, top and width of both pictures in their panes."""
    found = page.js(
        "return [...document.querySelectorAll('.pane')].map(p => { const a = p.getBoundingClientRect(), "
        "b = p.querySelector('img').getBoundingClientRect(); return [b.left - a.left, b.top - a.top, b.width]; })"
    )
    return [tuple(box) for box in found]


def test_the_divider_moves_with_the_pointer_and_with_keys(restored: Any) -> None:
    divider = restored["divider"]
    ActionChains(restored.driver).drag_and_drop_by_offset(divider, -200, 0).perform()
    restored.settled()
    dragged = int(divider.get_attribute("aria-valuenow"))
    assert dragged < 40
    divider.send_keys(Keys.ARROW_RIGHT, Keys.PAGE_UP)
    restored.settled()
    assert int(divider.get_attribute("aria-valuenow")) == dragged + 11
    divider.send_keys(Keys.END)
    restored.settled()
    assert divider.get_attribute("aria-valuenow") == "100"
    clip = restored.js("return document.getElementById('pane-right').style.clipPath")
    assert "100%" in clip


def test_zoom_reaches_400_percent_and_comes_back(restored: Any) -> None:
    restored["zoom-100"].click()
    restored.settled()
    assert restored.text("zoom-now") == "100 %"
    assert boxes(restored)[0][2] == pytest.approx(128, abs=0.01)
    restored["zoom-400"].click()
    restored.settled()
    assert boxes(restored)[0][2] == pytest.approx(512, abs=0.01)
    restored["zoom-in"].click()
    restored.settled()
    assert restored.text("zoom-now") == "400 %"
    assert (
        restored.js("return getComputedStyle(document.querySelector('#pane-right img')).imageRendering") == "pixelated"
    )
    restored["zoom-fit"].click()
    restored.settled()
    assert restored["zoom-fit"].get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("mode", ["split", "side"])
def test_both_pictures_pan_together(page: Any, small: Path, mode: str) -> None:
    page.open(400, 700)  # so narrow that 400 % is larger than the stage
    page.add(small)
    page.choose("denoise")
    page.run()
    page.js("document.querySelector(`input[name=mode][value=${arguments[0]}]`).click()", mode)
    page["zoom-400"].click()
    page["stage"].send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    page.settled()
    before = boxes(page)
    assert before[0] == before[1]
    ActionChains(page.driver).move_to_element_with_offset(page["stage"], -60, 30).click_and_hold().move_by_offset(
        40, 10
    ).release().perform()
    page.settled()
    after = boxes(page)
    assert after[0] == after[1]
    assert after[0] != before[0]


def test_the_wheel_zooms_around_the_pointer(restored: Any) -> None:
    restored["zoom-100"].click()
    restored.settled()
    left, _, width = boxes(restored)[0]
    stage = restored.js(
        "const b = document.getElementById('stage').getBoundingClientRect(); return [b.width, b.height]"
    )
    point = (stage[0] / 2 + 10, stage[1] / 2 + 5)
    share = (point[0] - left) / width
    restored.js(
        "const s = document.getElementById('stage'), b = s.getBoundingClientRect(); s.dispatchEvent(new WheelEvent("
        "'wheel', {deltaY: -400, clientX: b.left + arguments[0], clientY: b.top + arguments[1], cancelable: true}))",
        *point,
    )
    restored.settled()
    now_left, _, now_width = boxes(restored)[0]
    assert now_width > 1.5 * width
    if now_width > stage[0]:  # a picture that fits stays in the middle
        assert (point[0] - now_left) / now_width == pytest.approx(share, abs=0.02)


def test_keys_zoom_and_show_the_left_picture_alone(restored: Any) -> None:
    stage = restored["stage"]
    stage.send_keys("4")
    restored.settled()
    assert restored.text("zoom-now") == "400 %"
    stage.send_keys("0")
    restored.settled()
    assert restored["zoom-fit"].get_attribute("aria-pressed") == "true"
    restored.js("document.getElementById('stage').dispatchEvent(new KeyboardEvent('keydown', {key: 'b'}))")
    restored.settled()
    assert not restored["divider"].is_displayed()


def test_everything_is_reached_by_tab_alone_and_the_focus_is_seen(page: Any, small: Path) -> None:
    page.add(small)
    page.js("document.activeElement.blur()")
    seen: list[str] = []
    for _ in range(45):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        name, outline = page.js(
            "const e = document.activeElement, t = e.matches('input[type=radio]') ? e.nextElementSibling : e;"
            "return [e.id || e.name || e.className || e.tagName, getComputedStyle(t).outlineStyle]"
        )
        if name == "BODY":
            break
        seen.append(name)
        assert outline != "none", name
    assert {"add", "stage", "task", "fidelity-number", "run", "code", "zoom-400"} <= set(seen)


def test_control_enter_runs(page: Any, small: Path) -> None:
    page.add(small)
    page.choose("denoise")
    page["fidelity-number"].send_keys(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: page["pictures"].text.endswith("Done"))


def test_a_narrow_screen_shows_everything_without_scrolling_sideways(page: Any, small: Path) -> None:
    page.open(360, 740, touch=True)
    page.add(small)
    page.choose("denoise")
    page.js("document.getElementById('more').open = true")
    page.run()
    assert page.js("return document.documentElement.scrollWidth") == 360
    outside = page.js(
        "return [...document.querySelectorAll('button, input, select')].filter(e => e.checkVisibility() && "
        "!e.closest('#pictures, #tries')).map(e => [e.id || e.name, e.getBoundingClientRect()])"
        ".filter(([, b]) => b.width && (b.left < 0 || b.right > 360.5)).map(([name]) => name)"
    )
    assert outside == []


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_are_pure_grey_and_follow_the_system(page: Any, dark: bool) -> None:
    page.open(dark=dark)
    colours = page.js(
        "return [document.documentElement, document.getElementById('panel'), document.getElementById('welcome')]"
        ".map(e => getComputedStyle(e).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
    )
    for red, green, blue in colours:
        assert red == green == blue
    assert (colours[0][0] < 64) == dark
    page["theme"].send_keys("Light" if dark else "Dark")
    page.until(
        lambda: (
            page.js("return getComputedStyle(document.documentElement).colorScheme") == ("light" if dark else "dark")
        )
    )
    page.js("localStorage.clear()")
