"""The labs as a web page (`make app`), in a real browser."""

import os
import re
from pathlib import Path

import browser
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
APP = ROOT / "app" / "labs.ipynb"


def test_the_page_is_committed_without_outputs():
    cells = [cell for cell in nbformat.read(APP, as_version=4).cells if cell.cell_type == "code"]
    assert len(cells) == 2
    assert not any(cell.outputs for cell in cells)


def test_make_serves_it():
    assert "-m voila app/labs.ipynb" in (ROOT / "Makefile").read_text()


@pytest.mark.browser
@pytest.mark.skipif(browser.chromium() is None and not os.environ.get("CI"), reason=browser.NO_CHROMIUM)
def test_both_labs_work_and_no_code_is_shown():
    from playwright.sync_api import expect

    with browser.voila(APP, profile="cpu") as address, browser.launched() as chromium:
        page = chromium.new_page(viewport=browser.WINDOW)
        page.goto(address)
        painting = page.locator('figure img[alt$=" steps"]')
        expect(painting).to_be_visible(timeout=90_000)
        page.get_by_role("button", name="Start", exact=True).click()
        expect(painting).to_have_attribute("alt", re.compile(r" [1-9]\d* steps$"), timeout=60_000)
        page.get_by_role("button", name="Pause", exact=True).click()
        colorized = page.locator("figure img").last
        expect(colorized).to_be_visible(timeout=60_000)
        before = colorized.get_attribute("src")
        sigma = page.locator(".widget-slider, .widget-hslider").filter(has_text="σ").get_by_role("slider")
        sigma.focus()
        sigma.press("End")
        expect(colorized).not_to_have_attribute("src", before, timeout=60_000)
        assert "import nstlib" not in page.inner_text("body")
