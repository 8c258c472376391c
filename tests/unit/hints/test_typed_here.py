"""Commands in a hint name the workspace that the command was given, and are else left alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.hints import typed_here

ODD = Path("odd ?#% 'x' ü {}")
HERE = f" --workspace {shlex.quote(str(ODD))}"


@pytest.mark.parametrize(
    ("hint", "typed"),
    [
        ("", ""),
        ("recap resume", "recap resume@"),
        ("recap resume   (makes it again)", "recap resume@   (makes it again)"),
        ("recap data show 0123", "recap data show@ 0123"),
        ("mend it; then recap run --task T", "mend it; then recap run@ --task T"),
        ("`recap data stats` counts", "`recap data stats@` counts"),
        ("recap data repair; then recap run --workspace W", "recap data repair@; then recap run --workspace W"),
        ("recap data verify --workspace W (then: recap gc)", "recap data verify --workspace W (then: recap gc@)"),
        ("recap schedule list", "recap schedule list"),
        ("upgrade recap, or choose another --workspace", "upgrade recap, or choose another --workspace"),
        ("recap run --workspace '/home/me/recap run'", "recap run --workspace '/home/me/recap run'"),
    ],
)
def test_each_command_that_names_none_gets_the_workspace(hint: str, typed: str) -> None:
    assert typed_here(hint, ODD) == typed.replace("@", HERE)
    assert typed_here(hint, Path("runs")) == hint


def test_every_command_that_takes_a_workspace_is_known() -> None:
    import typer

    from cli.main import app

    def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word, inner in getattr(command, "commands", {}).items():
            yield from leaves(inner, f"{name} {word}")
        if not hasattr(command, "commands"):
            yield name, command

    found = dict(leaves(typer.main.get_command(app), "recap"))
    assert len(found) > 15
    takes = {name for name, command in found.items() if any("--workspace" in param.opts for param in command.params)}
    without = {"recap study list", "recap study tables"}
    assert takes == set(found) - without
    assert {name for name in found if typed_here(name, ODD) == name} == {"recap schedule list", *without}
