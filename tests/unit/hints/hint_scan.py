"""Every hint in the source, as text: what `hint=` is given, and every other text that names a command of recap."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = ("recap", "data", "value_model", "policy", "pipelines", "cli")
FILLED = "FILLED_IN"
"""Stands for what is known at run time only: a path, a name, a number."""
_SAYS_A_COMMAND = re.compile(r"\brecap [a-z]")


@dataclass(frozen=True)
class Hint:
    """One text and where it stands."""

    file: str
    """Relative to the root of the source."""
    line: int
    text: str
    error: bool
    """Given as `hint=`: all of it is what to type or do. Else a text that may say anything, and a command among it."""


@dataclass(frozen=True)
class Unread:
    """A hint whose text cannot be read from the source."""

    file: str
    expression: str


@cache
def scan(root: Path) -> tuple[list[Hint], list[Unread]]:
    """All hints below the packages of `root`, and the expressions given as `hint=` that are not text."""
    hints: list[Hint] = []
    unread: list[Unread] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            found, odd = scan_source(path.read_text(), str(path.relative_to(root)))
            hints += found
            unread += odd
    return hints, unread


def scan_source(source: str, file: str) -> tuple[list[Hint], list[Unread]]:
    """The same of one file."""
    tree = ast.parse(source)
    hints: list[Hint] = []
    unread: list[Unread] = []
    given: set[int] = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        for keyword in call.keywords:
            if keyword.arg not in ("hint", "install"):
                continue
            texts = list(_texts(keyword.value, tree))
            if not texts and keyword.arg == "hint":
                unread.append(Unread(file, ast.unparse(keyword.value)))
            for node, text in texts:
                given.update((id(node), *(id(part) for part in getattr(node, "values", ()))))
                if text:
                    hints.append(Hint(file, node.lineno, text, error=True))
    silent = _docstrings(tree)
    for node in ast.walk(tree):
        text = _text(node)
        if text is None or id(node) in given or id(node) in silent or not _SAYS_A_COMMAND.search(text):
            continue
        if isinstance(node, ast.JoinedStr):
            given.update(id(part) for part in node.values)
        hints.append(Hint(file, node.lineno, text, error=False))  # type: ignore[attr-defined]
    return hints, unread


def _texts(node: ast.expr, tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """The texts that an expression may be: of itself, of both branches, of the constant that it names."""
    text = _text(node)
    if text is not None:
        yield node, text
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, tree)
        yield from _texts(node.orelse, tree)
    elif isinstance(node, (ast.Name, ast.Subscript)):
        name = node if isinstance(node, ast.Name) else node.value
        for statement in ast.walk(tree):
            if not isinstance(statement, ast.Assign) or not isinstance(name, ast.Name):
                continue
            if any(isinstance(target, ast.Name) and target.id == name.id for target in statement.targets):
                values = statement.value.values if isinstance(statement.value, ast.Dict) else [statement.value]
                for value in values:
                    yield from _texts(value, tree)


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Constant):
        # Words for shlex.join.
        words = [_text(word) or FILLED for word in node.elts if not isinstance(word, ast.Starred)]
        return " ".join(words) if words[0] == "recap" else None
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else FILLED for part in node.values)
    return None


def _docstrings(tree: ast.Module) -> set[int]:
    """Ids of the string statements: docstrings of modules, classes, functions and fields."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
