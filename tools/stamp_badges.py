"""Give every notebook its Colab badge and its set-up cell (`make badges`).

The repository's address stands once, in pyproject.toml; this writes it where Colab needs it. What is stamped already is stamped
anew, so that running it twice changes nothing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

from nstlib.files import atomic_write

ROOT = Path(__file__).parent.parent
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({})"
SETUP = """\
# Colab only: fetch the repository and install what is missing; what Colab is built on stays as it is
import sys

if "google.colab" in sys.modules:
    !test -d /content/{name} || git clone --quiet --depth 1 {address} /content/{name}
    !pip list --format=freeze | grep -E "^(torch|torchvision|numpy|ipykernel|ipywidgets|scikit-image)==" > /content/keep.txt
    !pip install --quiet --constraint /content/keep.txt --editable "/content/{name}[experiments]"
    sys.path.insert(0, "/content/{name}")
    %cd -q /content/{name}/notebooks"""


def repository() -> str:
    """The address in pyproject.toml."""
    (address,) = re.findall(r'^Repository = "(https://github\.com/[^/"]+/[^/"]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    return address


def stamp(notebook: nbformat.NotebookNode, name: str, address: str) -> None:
    """Badge below the title, set-up cell below the introduction; counts of executed cells move up by one where that is new."""
    page = f"{address.replace('https://github.com', 'https://colab.research.google.com/github')}/blob/main/notebooks/{name}"
    title, _, rest = notebook.cells[0].source.partition("\n\n")
    if rest.startswith("[![Open in Colab]"):
        rest = rest.partition("\n\n")[2]
    notebook.cells[0].source = "\n\n".join([title, BADGE.format(page), rest])

    source = SETUP.format(name=address.rsplit("/", 1)[1], address=address)
    if "colab" in notebook.cells[1].metadata.get("tags", []):
        notebook.cells[1].source = source
        return
    cell = nbformat.v4.new_code_cell(source, id=f"{name[:2]}-setup", execution_count=1)
    cell.metadata["tags"] = ["colab"]
    notebook.cells.insert(1, cell)
    for later in notebook.cells[2:]:
        if later.cell_type == "code" and later.execution_count:
            later.execution_count += 1
            for output in later.outputs:
                if "execution_count" in output:
                    output.execution_count += 1


def main() -> int:
    address = repository()
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        stamp(notebook, path.name, address)
        with atomic_write(path) as temporary:
            nbformat.write(notebook, temporary)
    print(f"stamped: {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
