"""Photograph the live labs of notebook 04 in JupyterLab (`make screenshots`): figures/lab_style.jpg and lab_colorize.jpg.

Needs Chromium (``apt install chromium``).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import browser
import nbformat

from nstlib.files import atomic_write

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "04_style_lab.ipynb"
STEPS = 200  # until the picture is photographed
QUALITY = 90  # of the JPEG files


def main() -> int:
    """Take both photographs; return the exit status."""
    if browser.chromium() is None:
        print(browser.NO_CHROMIUM, file=sys.stderr)
        return 1
    sources = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    imports, style, colorize = (
        next(i for i, source in enumerate(sources) if code in source)
        for code in ("import nstlib.widgets", "widgets.StyleLab(", "widgets.ColorizeLab(")
    )
    with tempfile.TemporaryDirectory() as folder, browser.launched() as chromium:
        shutil.copy(NOTEBOOK, folder)
        with browser.jupyterlab(Path(folder), profile="cpu") as address:
            page = chromium.new_context(viewport={**browser.WINDOW, "height": 1400}, device_scale_factor=1.5).new_page()
            notebook = browser.Notebook(page, address.format(NOTEBOOK.name))
            notebook.run(imports)
            notebook.run(style)
            page.get_by_role("button", name="Start", exact=True).click()
            page.wait_for_function(
                """steps => {
                    const picture = document.querySelector('img[alt^="the picture after"]');
                    return picture && parseInt(picture.alt.match(/[0-9]+/)[0]) >= steps;
                }""",
                arg=STEPS,
                timeout=300_000,
            )
            page.get_by_role("button", name="Pause", exact=True).click()
            photograph(notebook, style, ROOT / "figures" / "lab_style.jpg")
            notebook.run(colorize)
            page.get_by_alt_text("the frame, colorized from its condition").wait_for(timeout=60_000)
            photograph(notebook, colorize, ROOT / "figures" / "lab_colorize.jpg")
    return 0


def photograph(notebook: browser.Notebook, cell: int, path: Path) -> None:
    """Save the output of a cell as JPEG."""
    notebook.page.wait_for_timeout(1500)  # the last picture, and the mouse's shadow
    with atomic_write(path) as temporary:
        temporary.write_bytes(notebook.output(cell).screenshot(type="jpeg", quality=QUALITY))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
