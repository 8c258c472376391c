"""Commands in a hint name the workspace that the command was given, and are else left alone."""

from __future__ import annotations

import shlex
from pathlib import Path

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
