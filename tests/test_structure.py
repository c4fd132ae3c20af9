"""Who imports whom: read from the syntax tree, so that what stands in a string or a comment does not count."""

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES = 400  # of a module, at most


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


DISTRIBUTIONS = packages_distributions()  # slow to ask for
MODULES = {module_name(path): path for path in sorted((ROOT / "nstlib").rglob("*.py"))}


def is_type_checking(test):
    """Whether a condition is TYPE_CHECKING or typing.TYPE_CHECKING."""
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def nodes(tree):
    """All nodes that may be run, those in functions too; not what only a type checker reads."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(tree, ast.If) and is_type_checking(tree.test) and child in tree.body:
            continue
        yield from nodes(child)


def imports(source, package, modules=()):
    """The modules that ``source`` imports, by their full names.

    Args:
        source: the text of a module.
        package: where it lies; relative imports begin there.
        modules: what is a module rather than a name in one: ``from a import b`` imports a.b if that is one, else a.
    """
    for node in nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in modules else base
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def imported_by(name):
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return set(imports(path.read_text(encoding="utf-8"), package, MODULES))


def test_imports_are_found_wherever_they_stand():
    source = """
import a.b, c
from . import sibling
from ..other import name
from nstlib import vgg, stylize
if TYPE_CHECKING:
    import only_a_type_checker
else:
    import every_program
def later():
    import inside
    importlib.import_module("by_name")
text = "import nothing"
"""
    found = {"a.b", "c", "nstlib.widgets", "nstlib.other", "nstlib.vgg", "nstlib", "every_program", "inside", "by_name"}
    assert set(imports(source, "nstlib.widgets", {"nstlib.vgg"})) == found


@pytest.mark.parametrize("name", MODULES)
def test_the_library_does_not_know_the_experiments(name):
    assert not {other for other in imported_by(name) if other.split(".")[0] in ("experiments", "tools", "tests")}


def test_there_is_no_cycle():
    graph = {name: imported_by(name) & set(MODULES) for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("name", MODULES)
def test_nothing_but_the_widgets_needs_widgets(name):
    if not name.startswith("nstlib.widgets"):
        roots = ("nstlib.widgets", "ipywidgets", "IPython")
        assert not {other for other in imported_by(name) if other.startswith(roots)}


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_long(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("name", MODULES)
def test_what_the_library_imports_is_installed_with_it(name):
    required = {re.split(r"[<>=!~ \[]", line)[0].lower() for line in requires("nstlib") if "extra ==" not in line}
    for top in {other.split(".")[0] for other in imported_by(name)} - set(sys.stdlib_module_names) - {"nstlib"}:
        distributions = {distribution.lower() for distribution in DISTRIBUTIONS.get(top, [top])}
        assert distributions & required, f"{name} imports {top}, which is not among the dependencies in pyproject.toml"
