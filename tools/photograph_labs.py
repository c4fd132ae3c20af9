"""Photograph the live labs in JupyterLab (`make screenshots`): figures/lab_style.jpg (04) and figures/lab_colorize.jpg (07).

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
NOTEBOOKS = ROOT / "notebooks"
STYLE, COLORIZE = NOTEBOOKS / "04_style_lab.ipynb", NOTEBOOKS / "07_lineart_colorization.ipynb"
STEPS = 200  # until the picture is photographed
QUALITY = 90  # of the JPEG files


def main() -> int:
    """Take both photographs; return the exit status."""
    if browser.chromium() is None:
        print(browser.NO_CHROMIUM, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, browser.launched() as chromium:
        for path in (STYLE, COLORIZE):
            shutil.copy(path, folder)
        with browser.jupyterlab(Path(folder), profile="cpu") as address:

            def opened(path: Path, *codes: str) -> tuple[browser.Notebook, int]:
                """The notebook in a page of its own, with the cells that hold these codes run, and the last one's number."""
                page = chromium.new_context(viewport={**browser.WINDOW, "height": 1400}, device_scale_factor=1.5).new_page()
                notebook = browser.Notebook(page, address.format(path.name))
                sources = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
                cells = [next(i for i, source in enumerate(sources) if code in source) for code in codes]
                for cell in cells:
                    notebook.run(cell)
                return notebook, cells[-1]

            notebook, cell = opened(STYLE, "import nstlib.widgets", "widgets.StyleLab(")
            notebook.page.get_by_role("button", name="Start", exact=True).click()
            notebook.page.wait_for_function(
                """steps => {
                    const picture = document.querySelector('img[alt^="the picture after"]');
                    return picture && parseInt(picture.alt.match(/[0-9]+/)[0]) >= steps;
                }""",
                arg=STEPS,
                timeout=300_000,
            )
            notebook.page.get_by_role("button", name="Pause", exact=True).click()
            photograph(notebook, cell, ROOT / "figures" / "lab_style.jpg")

            notebook, cell = opened(COLORIZE, "nstlib.Colorizer.load(", "widgets.ColorizeLab(")
            notebook.page.get_by_alt_text("the frame, colorized from its condition").wait_for(timeout=60_000)
            photograph(notebook, cell, ROOT / "figures" / "lab_colorize.jpg")
    return 0


def photograph(notebook: browser.Notebook, cell: int, path: Path) -> None:
    """Save the output of a cell as JPEG."""
    notebook.page.wait_for_timeout(1500)  # the last picture, and the mouse's shadow
    with atomic_write(path) as temporary:
        temporary.write_bytes(notebook.output(cell).screenshot(type="jpeg", quality=QUALITY))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
