"""The web version of README and notebooks (`make docs`): Sphinx with MyST, from the files where they are."""

from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx

project = "Perceptual loss for image-to-image translation"
author = "The nstlib authors"
copyright = "2026, the nstlib authors"
extensions = ["myst_nb", "sphinx-mathjax-offline"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "course/README.md",
    "course/syllabus.md",
    "notebooks/*.ipynb",
]
nb_execution_mode = "off"  # they are committed executed
nb_render_markdown_format = "myst"  # CommonMark, the default, has no tables
myst_enable_extensions = ["dollarmath", "amsmath"]
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["web.css"]
html_css_files = ["web.css"]


def describe_pictures(app: Sphinx, document: nodes.document) -> None:
    """The alternative texts of a notebook's pictures, which MyST-NB leaves out."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    kinds = ("image/jpeg", "image/png")  # photographs; plots and drawings
    texts = [output.metadata[kind]["alt"] for output in outputs for kind in kinds if kind in output.get("data", {})]
    pictures = [picture for picture in document.findall(nodes.image) if "alt" not in picture]
    for picture, text in zip(pictures, texts, strict=True):
        picture["alt"] = text


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", describe_pictures)
