"""Execute the notebooks in place and list the figures that they made (`make figures`).

In the profiles smoke and cpu, two notebooks run at a time, each on half of the cores. That takes less time than one after the
other on all cores. A notebook is replaced only when all of it has run. The profile comes from NSTLIB_PROFILE (see
experiments/profiles.py).

    python tools/run_notebooks.py [NOTEBOOK ...]
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from experiments import profiles
from nstlib.files import atomic_write

ROOT = Path(__file__).parent.parent
LONGEST = "03_style_transfer"  # begins first, so that no other notebook waits for it at the end
# glibc would return large blocks to the system after each use and clear them anew, which costs a twentieth of the time
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def fold_carriage_returns(text: str) -> str:
    """The text as a terminal would show it: what follows a carriage return replaces the line."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


class NotebookFailed(Exception):
    """A notebook did not run to its end; the message says which one, and why."""


async def execute(path: Path, save: bool, threads: int) -> None:
    """Run a notebook in its folder; with ``save``, replace it by what was executed.

    Raises:
        NotebookFailed: a cell raised an error, or the kernel died.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    done = 0
    started = time.monotonic()

    def report(cell: nbformat.NotebookNode, **_: object) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            print(f"  {path.stem}: cell {done} of {len(cells)}, {time.monotonic() - started:.0f} s", flush=True)

    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_executed=report,
    )
    try:
        # what the user has set wins
        await client.async_execute(env={"OMP_NUM_THREADS": str(threads), **KEEP_MEMORY, **os.environ})
    except (CellExecutionError, DeadKernelError) as error:
        reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # the kernel colors its tracebacks
        raise NotebookFailed(
            f"{path.name} failed; it and the notebooks that had not ended stay as they were:\n{reason}"
        ) from error
    if not save:
        return
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info.pop("version", None)  # else every machine's Python would change the file
    for cell in cells:
        for output in cell.outputs:
            if output.output_type == "stream":
                output.text = fold_carriage_returns(output.text)
            # a widget lives as long as its kernel; its text stays
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    with atomic_write(path) as temporary:
        nbformat.write(notebook, temporary)


async def execute_all(paths: list[Path], save: bool, at_a_time: int) -> None:
    """Run the notebooks, ``at_a_time`` of them beside each other on equal parts of the cores.

    Raises:
        NotebookFailed: one of them failed; the others are stopped.
    """
    slots = asyncio.Semaphore(at_a_time)

    async def run(path: Path) -> None:
        async with slots:
            await execute(path, save, threads=max(1, (os.cpu_count() or 1) // at_a_time))

    await asyncio.gather(*(run(path) for path in paths))


def main(arguments: list[str]) -> int:
    """Run the command (see the module) and return its exit status."""
    paths = [Path(argument) for argument in arguments] or sorted(
        (ROOT / "notebooks").glob("[0-9]*.ipynb"), key=lambda path: (path.stem != LONGEST, path.name)
    )
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        print(f"there is no {', '.join(missing)}", file=sys.stderr)
        return 2
    try:
        profile = profiles.current()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    at_a_time = 1 if profile.name == "gpu" else min(2, len(paths))
    began, clock = time.time(), time.monotonic()
    print(f"running {len(paths)} notebooks, profile {profile.name}", flush=True)
    try:
        asyncio.run(execute_all(paths, save=profile.name != "smoke", at_a_time=at_a_time))
    except NotebookFailed as error:
        print(error, file=sys.stderr)
        return 1
    made = [p for p in sorted(profile.figures.glob("*")) if p.is_file() and p.stat().st_mtime >= began]
    print(f"\nmade in {time.monotonic() - clock:.0f} s:" if made else f"\nran in {time.monotonic() - clock:.0f} s; no figures")
    for figure in made:
        print(f"  {figure.relative_to(ROOT)}")
    if profile.name != "smoke":
        print(f"the executed notebooks are in {paths[0].parent.name}/; `make lab` opens them")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
