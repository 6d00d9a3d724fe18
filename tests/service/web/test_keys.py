"""A server that asks for an API key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selenium.webdriver import Keys


def test_the_key_is_asked_for_checked_and_used(page: Any, locked_server: tuple[str, str], small: Path) -> None:
    assert not page["key-open"].is_displayed()
    page.address, key = locked_server
    page.open()
    assert page["key-open"].is_displayed()
    page.add(small)
    page.choose("denoise")
    page["run"].click()
    assert page["key-dialog"].is_displayed()
    page["key"].send_keys("plk_wrong", Keys.ENTER)
    page.until(lambda: page.text("key-trouble"))
    assert page.text("key-trouble") == "The server does not know this key."
    page["key"].clear()
    page["key"].send_keys(key, Keys.ENTER)
    page.until(lambda: page.text("pictures").endswith("Done"))
    assert not page["key-dialog"].is_displayed()
    assert page.js("return sessionStorage.length + localStorage.length") == 1
    page["code"].click()
    assert "$PELLUCID_API_KEY" in page["curl"].text
    assert key not in page["code-dialog"].text
    page.js("sessionStorage.clear()")
