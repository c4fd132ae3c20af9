"""Memory of the live style lab over many steps, in JupyterLab in Chromium: the kernel's and the page's.

    python benchmarks/lab.py [--minutes N]

The first minute is for warming up; growth is from there to the end. Needs Chromium (``apt install chromium``).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from experiments.records import processor, write_json

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))
import browser  # noqa: E402 (tools/ is no package)

CELL = """
import os, nstlib, nstlib.widgets
print("kernel", os.getpid())
nstlib.widgets.StyleLab(nstlib.asset_path("toronto"), nstlib.asset_path("scream"))
"""
EVERY = 15  # seconds between looks


def main() -> int:
    """Run the command (see the module); return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    if browser.chromium() is None:
        print(browser.NO_CHROMIUM, file=sys.stderr)
        return 1
    kernel_mb, page_mb, seconds = [], [], []
    with tempfile.TemporaryDirectory() as folder, browser.launched() as chromium:
        browser.write_notebook(Path(folder, "lab.ipynb"), [CELL])
        with browser.jupyterlab(Path(folder), profile="cpu") as address:
            page = chromium.new_context(viewport=browser.WINDOW).new_page()
            notebook = browser.Notebook(page, address.format("lab.ipynb"))
            notebook.run(0)
            page.get_by_alt_text("the picture after").wait_for(timeout=60_000)
            kernel = psutil.Process(int(notebook.cell(0).locator(".jp-OutputArea-output").first.inner_text().split()[-1]))
            page.get_by_role("button", name="Start", exact=True).click()
            session = page.context.new_cdp_session(page)
            session.send("HeapProfiler.enable")
            began = time.monotonic()
            while time.monotonic() - began < 60 * (1 + minutes):
                page.wait_for_timeout(1000 * EVERY)
                session.send("HeapProfiler.collectGarbage")
                seconds.append(time.monotonic() - began)
                kernel_mb.append(kernel.memory_info().rss / 2**20)
                page_mb.append(session.send("Runtime.getHeapUsage")["usedSize"] / 2**20)
                print(f"{seconds[-1]:.0f} s: kernel {kernel_mb[-1]:.0f} MB, page {page_mb[-1]:.0f} MB", flush=True)
            steps = int(page.get_by_alt_text("the picture after").get_attribute("alt").split()[3])
    warm = next(i for i, at in enumerate(seconds) if at >= 60)
    growth = {
        name: round(statistics.median(values[-3:]) - statistics.median(values[warm : warm + 3]), 1)
        for name, values in (("kernel", kernel_mb), ("page", page_mb))
    }
    print(f"growth in {minutes:g} minutes and {steps} steps: kernel {growth['kernel']} MB, page {growth['page']} MB")
    write_json(
        {
            "minutes": minutes,
            "steps": steps,
            "growth_mb": growth,
            "kernel_mb": [round(value) for value in kernel_mb],
            "page_mb": [round(value) for value in page_mb],
            "seconds_between": EVERY,
            "device": processor(),
        },
        HERE / "lab_memory.json",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
