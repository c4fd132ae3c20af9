"""JupyterLab and Voilà in a real browser, for the browser tests and for photographs of the labs.

The browser is Debian's Chromium (``apt install chromium``), driven by Playwright, which brings no browser of its own here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

WINDOW = {"width": 1280, "height": 900}
NO_CHROMIUM = "no Chromium was found; on Debian and Ubuntu: sudo apt install chromium"


def chromium() -> str | None:
    """Where the browser is, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """A headless Chromium that talks to this machine only."""
    from playwright.sync_api import sync_playwright

    arguments = ["--disable-gpu", "--no-first-run", "--no-proxy-server"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    if os.geteuid() == 0:  # as root, Chromium starts only without
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def jupyterlab(folder: Path, profile: str) -> Iterator[str]:
    """JupyterLab over ``folder``, with settings of its own; gives the address to which a notebook's name may be added.

    Raises:
        RuntimeError: it does not start; with the end of its log.
    """
    token = secrets.token_hex(16)
    command = ["jupyterlab", "--allow-root", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.expose_app_in_browser=True"]
    with _served(command, profile, f"api/status?token={token}") as address:
        yield f"{address}/lab/tree/{{}}?token={token}&reset"


@contextlib.contextmanager
def voila(notebook: Path, profile: str) -> Iterator[str]:
    """A notebook as a web page without code; gives its address.

    Raises:
        RuntimeError: it does not start; with the end of its log.
    """
    with _served(["voila", str(notebook), "--theme=light"], profile, "voila/static/voila.js") as address:
        yield address


@contextlib.contextmanager
def _served(command: Sequence[str], profile: str, ready: str) -> Iterator[str]:
    """A Jupyter server, from ``python -m`` a command, with settings of its own; gives its address once ``ready`` is there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home, "config", "labconfig")
        settings.mkdir(parents=True)
        # else JupyterLab asks whether it may fetch news
        news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        (settings / "page_config.json").write_text(json.dumps(news))
        environment = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(settings.parent),
            "JUPYTER_DATA_DIR": str(Path(home, "data")),
            "JUPYTER_RUNTIME_DIR": str(Path(home, "runtime")),
            "IPYTHONDIR": str(Path(home, "ipython")),
            "NSTLIB_PROFILE": profile,
        }
        log = Path(home, "log")
        with log.open("w") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", *command, "--no-browser", f"--port={port}"],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_for(f"{address}/{ready}", server, log)
            yield address
        finally:
            server.terminate()  # takes the kernels with it
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(round(seconds / 0.2)):
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError), opener.open(address, timeout=5):
            return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


class Notebook:
    """A notebook in an open page."""

    def __init__(self, page: Page, address: str):
        self.page = page
        page.goto(address)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        # the page is there before the kernel is, and a cell run without one is forgotten
        page.evaluate(
            """async () => {
                const context = window.jupyterapp.shell.currentWidget.context.sessionContext;
                await context.ready;
                await context.session.kernel.info;
            }"""
        )

    def command(self, name: str) -> None:
        """One of JupyterLab's commands, as its menus give them."""
        self.page.evaluate("name => window.jupyterapp.commands.execute(name)", name)

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)

    def run(self, index: int) -> None:
        """Run a cell, without waiting for it."""
        self.cell(index).locator(".jp-InputPrompt").click()
        self.command("notebook:run-cell")

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-OutputArea-output").last
