"""The web version (`make docs`): nothing is missing from it, and a browser shows its formulas and pictures."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import browser
import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow  # the pages take half a minute to build


class References(HTMLParser):
    """What a page refers to, and what may be referred to in it."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.anchors, self.pictures = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.targets += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "img" and not attributes["src"].startswith("https:"):  # Colab's badge is Colab's own
            self.pictures.append(attributes)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every page, by its path; the build has no warnings."""
    out = tmp_path_factory.mktemp("web") / "docs"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", "docs", ".", str(out)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    return {path: References(path) for path in out.rglob("*.html") if "_static" not in path.parts}


def test_tables_are_tables(pages):
    texts = {path.name: path.read_text(encoding="utf-8") for path in pages}
    assert [name for name, text in texts.items() if "<p>|" in text] == [], "Markdown that was not understood"
    assert texts["12_medical.html"].count("<table") >= 1


def test_every_notebook_has_a_page(pages):
    names = {path.stem for path in pages}
    assert {"index", "README", "CHANGELOG", "CONTRIBUTING"} <= names
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} <= names


def test_no_link_is_broken_and_no_picture_missing(pages):
    for path, page in pages.items():
        for target in page.targets:
            if target.startswith(("http:", "https:", "mailto:", "data:", "javascript:")):
                continue
            file, _, anchor = unquote(target).partition("#")
            file = (path.parent / file.partition("?")[0]).resolve() if file else path
            assert file.exists(), f"{path.name}: {target}"
            if anchor and file in pages:
                assert anchor in pages[file].anchors, f"{path.name}: {target}"


def test_every_picture_is_described(pages):
    for path, page in pages.items():
        for picture in page.pictures:
            alt = picture.get("alt", "")
            described = len(alt) > 20 and not alt.endswith((".png", ".jpg", ".jpeg"))
            assert described or "logo" in picture.get("class", ""), f"{path.name}: {picture}"


@pytest.mark.browser
def test_a_browser_shows_formulas_and_pictures(pages):
    if browser.chromium() is None and not os.environ.get("CI"):
        pytest.skip(browser.NO_CHROMIUM)
    with browser.launched() as chromium:
        page = chromium.new_page(viewport=browser.WINDOW)
        for path in sorted(path for path in pages if path.parent.name == "notebooks"):
            page.goto(path.as_uri())
            page.wait_for_function("() => !window.MathJax || MathJax.startup?.promise")
            page.evaluate("() => window.MathJax?.startup?.promise")
            assert page.locator("mjx-merror").count() == 0, path.name
            formulas = page.locator(".math").count()
            assert page.locator("mjx-container").count() >= formulas, path.name
            broken = "() => [...document.images].filter(i => i.src.startsWith('file:') && !i.naturalWidth).map(i => i.src)"
            assert page.evaluate(broken) == [], path.name
