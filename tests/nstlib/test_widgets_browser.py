"""The labs as a student has them: JupyterLab in a real browser, mouse and keyboard."""

import os
import re
import statistics
import time
from pathlib import Path

import browser
import pytest
from playwright.sync_api import expect

from nstlib.images import load_image

pytestmark = pytest.mark.browser
if browser.chromium() is None and not os.environ.get("CI"):  # CI has one, and fails without
    pytest.skip(browser.NO_CHROMIUM, allow_module_level=True)

ROOT = Path(__file__).parents[2]
PATIENCE = 30  # seconds for what should take one: a busy machine is no failure
expect.set_options(timeout=1000 * PATIENCE)
STYLE_LAB = """
import nstlib, nstlib.widgets
lab = nstlib.widgets.StyleLab(nstlib.asset_path("washington"), nstlib.asset_path("scream"))
lab
"""
COLORIZE_LAB = """
import nstlib, nstlib.widgets
colorizers = [nstlib.Colorizer.load(nstlib.asset_path(f"colorizer-{name}")) for name in ("grayscale", "canny")]
nstlib.widgets.ColorizeLab(*colorizers)
"""
EXPLORER = """
import nstlib
from nstlib.widgets import Explorer
frame = nstlib.AnimeFrames("shots", 256, 1)[0][None]
draw = lambda sigma, low: nstlib.edges.canny(frame, sigma, low, 1).expand(-1, 3, -1, -1)
Explorer(draw, alt="Canny's lines", sigma=(1, 0, 4), low=(0.1, 0, 2))
"""
HINT_LAB = """
import PIL.Image, PIL.ImageDraw
import nstlib
from nstlib.widgets import HintLab
drawing = PIL.Image.new("RGB", (320, 240), "white")
PIL.ImageDraw.Draw(drawing).ellipse((60, 40, 260, 200), outline="black", width=3)
HintLab(nstlib.ReferenceColorizer("canny", 128, recipe=nstlib.ReferenceRecipe()), drawing)
"""
# when the weights in use, or a picture, were last seen to change, and when a key was last let go; on the page's own clock
WATCH = """
() => {
  window.changed = {};
  window.released = 0;
  addEventListener("keyup", () => { window.released = performance.now(); }, true);
  const seen = {};
  const look = () => {
    const now = {
      weights: [...document.querySelectorAll(".widget-html")].map(e => e.innerText.trim()).find(t => /\\d px/.test(t))
        ?.split("\\n").at(-1),
      colorized: document.querySelectorAll("figure img")[2]?.src,
    };
    for (const [name, value] of Object.entries(now)) {
      if (value !== seen[name]) { seen[name] = value; window.changed[name] = performance.now(); }
    }
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    browser.write_notebook(folder / "style.ipynb", [STYLE_LAB, "import time; time.time()"])
    browser.write_notebook(folder / "colorize.ipynb", [COLORIZE_LAB])
    browser.write_notebook(folder / "explore.ipynb", [EXPLORER])
    browser.write_notebook(folder / "hints.ipynb", [HINT_LAB])
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with browser.jupyterlab(folder, profile="cpu") as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    with browser.launched() as chromium:
        yield chromium


@pytest.fixture
def opened(chromium, address):
    """Opens a notebook in a window of its own; its kernel is stopped in the end."""
    context = chromium.new_context(viewport=browser.WINDOW)
    page = context.new_page()
    notebooks = []

    def open_notebook(name):
        notebooks.append(browser.Notebook(page, address.format(name)))
        page.evaluate(WATCH)
        return notebooks[-1]

    yield open_notebook
    for notebook in notebooks:
        notebook.command("kernelmenu:shutdown")
    context.close()


def slider(page, label):
    return page.locator(".widget-slider, .widget-hslider").filter(has=page.get_by_text(label, exact=True)).get_by_role("slider")


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def upload(page, name, file):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=name).click()  # its label goes on with the number of files
    chooser.value.set_files(file)


def pictures(page):
    """Content, painting, style; or frame, condition, colorized."""
    return page.locator(".jp-OutputArea-output figure img")


def painting(page):
    return page.locator('figure img[alt$=" steps"]')


def steps(page):
    return int(re.search(r"\d+", painting(page).get_attribute("alt")).group())


def wait_until(condition):
    """Poll from here; the page's own functions cannot be given to Playwright as Python."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return value


def style_lab(opened):
    notebook = opened("style.ipynb")
    notebook.run(0)
    expect(painting(notebook.page)).to_be_visible(timeout=60_000)
    return notebook, notebook.page


def released_to_change(page, what):
    """Milliseconds from the key's release to the change that followed."""
    wait_until(lambda: page.evaluate("what => window.changed[what] > window.released", what))
    return page.evaluate("what => window.changed[what] - window.released", what)


def test_start_pause_reset_save(opened, folder):
    _, page = style_lab(opened)
    for i in range(3):
        expect(pictures(page).nth(i)).to_be_visible()
    before = painting(page).get_attribute("src")
    started = time.monotonic()
    button(page, "Start").click()
    wait_until(lambda: painting(page).get_attribute("src") != before)
    print(f"\nfirst new picture {time.monotonic() - started:.2f} s after Start")
    wait_until(lambda: steps(page) > 20)
    expect(page.get_by_text(re.compile(r"\d px"))).to_be_visible()
    expect(page.locator('svg[role="img"]')).to_be_visible()

    button(page, "Pause").click()

    def stays():
        paused = painting(page).get_attribute("src")
        page.wait_for_timeout(1500)  # painting, it would change ten times a second
        return painting(page).get_attribute("src") == paused

    assert stays() or stays()  # or then: a step begun is finished

    button(page, "Save").click()
    expect(page.get_by_role("status").filter(has_text="painting-1.png")).to_be_visible()
    assert max(load_image(folder / "painting-1.png").shape) > 90

    at = steps(page)  # before the click: the first step may be shown before it returns
    button(page, "20 steps").click()
    wait_until(lambda: steps(page) == at + 20)
    page.wait_for_timeout(500)
    assert steps(page) == at + 20

    button(page, "Reset").click()
    wait_until(lambda: steps(page) == 0)


def test_a_slider_bends_the_picture_by_keyboard(opened):
    notebook, page = style_lab(opened)
    button(page, "Start").focus()
    page.keyboard.press("Enter")
    wait_until(lambda: steps(page) > 95)  # at full size, where a step takes longest
    handle = slider(page, "style")
    handle.focus()
    latencies = []
    for i in range(20):
        at = steps(page)
        page.keyboard.press("ArrowRight" if i < 10 else "ArrowLeft")
        latencies.append(released_to_change(page, "weights") / 1000)
        wait_until(lambda at=at: steps(page) > at)  # from where it is, no restart
    print(f"\nslider's release to the first step shown with the new weight: median {statistics.median(latencies):.3f} s")
    assert statistics.median(latencies) < 2

    page.keyboard.press("End")
    expect(page.get_by_text("content 1, style 1e+03")).to_be_visible()

    answers = []
    for _ in range(5):  # another cell, while it paints
        before = notebook.output(1).inner_text() if notebook.output(1).count() else ""
        pressed = time.monotonic()
        notebook.run(1)
        wait_until(lambda before=before: notebook.output(1).count() and notebook.output(1).inner_text() not in ("", before))
        answers.append(time.monotonic() - pressed)
    print(f"another cell's answer while it paints: median {statistics.median(answers):.3f} s")
    assert statistics.median(answers) < 2


def test_layers_pooling_and_start(opened):
    _, page = style_lab(opened)
    slider(page, "relu5_1").focus()
    page.keyboard.press("Home")
    button(page, "20 steps").click()
    expect(page.get_by_text("1, 1, 1, 1, 0")).to_be_visible()
    for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1"):
        slider(page, layer).focus()
        page.keyboard.press("Home")
    expect(page.get_by_role("alert")).to_be_visible()
    slider(page, "relu3_1").focus()
    page.keyboard.press("End")
    expect(page.get_by_role("alert")).to_have_count(0)

    wait_until(lambda: steps(page) == 20)
    page.get_by_label("start from").select_option("noise")
    wait_until(lambda: steps(page) == 0)
    button(page, "20 steps").click()
    wait_until(lambda: steps(page) == 20)
    page.get_by_label("pooling").select_option("max")
    wait_until(lambda: steps(page) == 0)


def test_uploads(opened):
    _, page = style_lab(opened)
    before = pictures(page).last.get_attribute("src")
    upload(page, "Style image", ROOT / "data" / "toronto.png")
    wait_until(lambda: pictures(page).last.get_attribute("src") != before)
    broken = {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff\xe0 not a picture"}
    upload(page, "Content image", broken)
    expect(page.get_by_role("alert")).to_contain_text("holiday.jpg")
    button(page, "20 steps").click()  # nothing is broken
    wait_until(lambda: steps(page) == 20)


def test_rerunning_the_cell_leaves_one_painter(opened):
    notebook, page = style_lab(opened)
    button(page, "Start").click()
    wait_until(lambda: steps(page) > 3)
    notebook.run(0)
    wait_until(lambda: steps(page) == 0)
    page.wait_for_timeout(500)
    assert steps(page) == 0  # the new lab waits for its own Start; the old one does not paint into it


def test_colorization_follows_the_slider(opened):
    notebook = opened("colorize.ipynb")
    notebook.run(0)
    page = notebook.page
    frame, colorized = pictures(page).nth(0), pictures(page).nth(2)
    expect(colorized).to_be_visible(timeout=60_000)

    slider(page, "σ, in pixels").focus()
    latencies = []
    for _ in range(20):
        page.keyboard.press("ArrowRight")
        latencies.append(released_to_change(page, "colorized") / 1000)
    print(f"\nslider's release to the new colorization: median {statistics.median(latencies):.3f} s")
    assert statistics.median(latencies) < 2

    for operator in ("grayscale", "sobel", "xdog", "canny"):
        before = colorized.get_attribute("src")
        page.get_by_label("condition").select_option(operator)
        wait_until(lambda before=before: colorized.get_attribute("src") != before)
        trained = "grayscale" if operator == "grayscale" else "canny"
        expect(page.get_by_text(re.compile(rf"\b{trained}\b.*\bt = 2\b"))).to_be_visible()

    before = frame.get_attribute("src")
    upload(page, "Picture of your own", {"name": "scan.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.get_by_role("alert")).to_contain_text("scan.png")
    upload(page, "Picture of your own", ROOT / "data" / "frames" / "lecturehall.jpg")
    wait_until(lambda: frame.get_attribute("src") != before)


def test_an_explorers_picture_follows_the_keyboard(opened):
    notebook = opened("explore.ipynb")
    notebook.run(0)
    page, lines = notebook.page, pictures(notebook.page)
    expect(lines).to_have_attribute("alt", "Canny's lines, with sigma = 1, low = 0.1", timeout=60_000)
    before = lines.get_attribute("src")
    slider(page, "sigma").focus()
    page.keyboard.press("End")
    expect(lines).to_have_attribute("alt", "Canny's lines, with sigma = 4, low = 0.1")
    assert lines.get_attribute("src") != before
    slider(page, "low").focus()
    page.keyboard.press("End")  # above what "high" is here: refused, and said
    expect(page.get_by_role("alert")).to_contain_text("low <= high")
    page.keyboard.press("Home")
    expect(lines).to_have_attribute("alt", "Canny's lines, with sigma = 4, low = 0")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_dabs_are_put_by_mouse_and_by_keyboard(opened):
    notebook = opened("hints.ipynb")
    notebook.run(0)
    page = notebook.page
    drawing, colored = page.get_by_role("application"), page.locator("figure img[alt*='colored from']")
    expect(drawing).to_have_attribute("aria-label", re.compile("with 0 dabs.*Arrow keys.*Enter"), timeout=60_000)
    expect(colored).to_have_attribute("alt", re.compile("from 0 dabs"))
    plain = drawing.locator("img").get_attribute("src")

    box = drawing.locator("img").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    expect(colored).to_have_attribute("alt", re.compile("from 1 dab,"))
    assert drawing.locator("img").get_attribute("src") != plain

    page.get_by_label("color").last.fill("#c03020")
    page.keyboard.press("Tab")
    drawing.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    expect(colored).to_have_attribute("alt", re.compile("from 2 dabs"))
    button(page, "Undo").click()
    expect(colored).to_have_attribute("alt", re.compile("from 1 dab,"))
    button(page, "Clear").click()
    expect(drawing.locator("img")).to_have_attribute("src", plain)
    upload(page, "Drawing of your own", {"name": "scan.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.get_by_role("alert")).to_contain_text("scan.png")
