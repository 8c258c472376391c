"""The code of every registered step against recap/accepted_code.json.

If this fails: raise the step's version when its outputs can differ; then run `make accept-golden`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recap.code import ACCEPTED, accept, golden_of, normalised_source, problems_of
from recap.errors import ConfigError
from recap.registry import Registry
from recap.step import JsonOutput, StepSpec, step


def test_no_step_changed_its_code_without_its_version() -> None:
    problems = problems_of(json.loads(ACCEPTED.read_text()), golden_of())
    assert not problems, "\n".join(problems)


def test_comments_docstrings_and_layout_do_not_count() -> None:
    plain = "import os\ndef f(a, b=1):\n    return a + b\nclass C:\n    x: int = 1\n"
    noisy = '''"""Module."""
import os  # why


def f(
    a,
    b=1,
):
    """Function."""
    return a + b


class C:
    """Class."""

    x: int = 1
    """Field."""
'''
    assert normalised_source(plain) == normalised_source(noisy)


@pytest.mark.parametrize(
    "changed",
    [
        "def f(a):\n    return a + 2\n",
        "def f(a):\n    return a - 1\n",
        "def f(b):\n    return b + 1\n",
        "def f(a): pass\n",
    ],
)
def test_every_change_of_meaning_counts(changed: str) -> None:
    assert normalised_source("def f(a):\n    return a + 1\n") != normalised_source(changed)


def test_nothing_and_none_are_told_apart() -> None:
    assert normalised_source("def f():\n    return\n") != normalised_source("def f():\n    return None\n")


def _steps(version: int) -> Registry[StepSpec]:
    registry: Registry[StepSpec] = Registry("none")
    step(name="s", version=version, outputs=("x",), registry=registry)(lambda c, d, i: {"x": JsonOutput(1)})
    return registry


def test_the_accepted_file_is_settled_by_accepting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"fingerprint": "a"}
    monkeypatch.setattr("recap.code.code_fingerprint", lambda module: code["fingerprint"])
    file = tmp_path / "accepted.json"
    one, two = _steps(1), _steps(2)
    (problem,) = problems_of({}, golden_of(one))
    assert "its code was never accepted; make accept-golden" in problem
    assert accept(file, one) == [problem]
    assert problems_of(json.loads(file.read_text()), golden_of(one)) == []

    code["fingerprint"] = "b"
    (problem,) = problems_of(json.loads(file.read_text()), golden_of(one))
    assert "its code changed and its version (1) did not" in problem
    (problem,) = problems_of(json.loads(file.read_text()), golden_of(two))
    assert "version 1 -> 2" in problem
    assert accept(file, two) == [problem]

    before = file.read_bytes()
    with pytest.raises(ConfigError, match="went back from 2 to 1"):
        accept(file, one)
    assert file.read_bytes() == before
    assert "no longer a step" in problems_of(json.loads(before), {})[0]
