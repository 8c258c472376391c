"""The files of the product: none imports itself by way of others, and none is longer than 400 lines."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("recap", "data", "value_model", "policy", "pipelines", "cli")


def _modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(node: ast.AST, known: dict[str, Path]) -> set[str]:
    """What a tree imports when it runs; a package's own module stands for a name that is none."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return set()
    found: set[str] = set()
    if isinstance(node, ast.Import):
        found = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        inner = {f"{node.module}.{alias.name}" for alias in node.names}
        found = {name if name in known else node.module for name in inner}
    for child in ast.iter_child_nodes(node):
        found |= _imports(child, known)
    return found & set(known)


def _graph(known: dict[str, Path]) -> dict[str, set[str]]:
    return {name: _imports(ast.parse(path.read_text()), known) - {name} for name, path in known.items()}


def test_no_circle_of_files() -> None:
    try:
        TopologicalSorter(_graph(_modules())).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_a_circle_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    from b import g\n")
    (tmp_path / "b.py").write_text("import a\n")
    known = {name: tmp_path / f"{name}.py" for name in ("a", "b")}
    with pytest.raises(CycleError):
        TopologicalSorter(_graph(known)).prepare()


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in _modules().items()}
    assert not {name: length for name, length in lengths.items() if length > 400}
