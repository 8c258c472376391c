"""The code of every registered step against tests/golden/fingerprints.json.

If this fails: raise the step's version when its outputs can differ; then run `python -m recap.testing.accept_golden`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from recap.errors import ConfigError
from recap.registry import Registry
from recap.step import JsonOutput, StepSpec, step
from recap.testing.fingerprints import (
    accept,
    code_fingerprint,
    fingerprint_problems,
    golden_of,
    normalised_source,
    read_golden,
)

GOLDEN = Path(__file__).parents[1] / "fingerprints.json"


def test_no_step_changed_its_code_without_its_version() -> None:
    problems = fingerprint_problems(read_golden(GOLDEN), golden_of())
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


def spec_of(*code: str, version: int = 1) -> Registry[StepSpec]:
    registry: Registry[StepSpec] = Registry("none")
    step(name="s", version=version, outputs=("x",), code=code, registry=registry)(lambda c, d, i: {"x": JsonOutput(1)})
    return registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fingerprinted" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "fingerprinted" / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "maths.py").write_text("def f():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_package_stands_for_its_modules_and_is_not_imported(package: Path) -> None:
    spec = spec_of("fingerprinted.inner").get("s")
    before = code_fingerprint(spec)
    (package / "maths.py").write_text("def f():\n    # one\n    return 1\n")
    assert code_fingerprint(spec) == before
    (package / "maths.py").write_text("def f():\n    return 2\n")
    changed = code_fingerprint(spec)
    assert changed != before
    (package / "more.py").write_text("")
    assert code_fingerprint(spec) != changed


def test_a_module_that_is_not_there_is_refused_by_name(package: Path) -> None:
    with pytest.raises(ConfigError, match=r"step 's' names the code module 'fingerprinted.inner.nothing'"):
        code_fingerprint(spec_of("fingerprinted.inner.nothing").get("s"))
    with pytest.raises(ConfigError, match="no package 'no_such_package'"):
        code_fingerprint(spec_of("no_such_package.x").get("s"))


def test_the_golden_file_is_settled_by_accepting(package: Path, tmp_path: Path) -> None:
    golden = tmp_path / "fingerprints.json"
    one, two = spec_of("fingerprinted.inner"), spec_of("fingerprinted.inner", version=2)
    assert "not in the golden file" in fingerprint_problems(read_golden(golden), golden_of(one))[0]
    accept(golden, one)
    assert fingerprint_problems(read_golden(golden), golden_of(one)) == []

    (package / "maths.py").write_text("def f():\n    return 3\n")
    (problem,) = fingerprint_problems(read_golden(golden), golden_of(one))
    assert "its code changed and its version (1) did not" in problem
    (problem,) = fingerprint_problems(read_golden(golden), golden_of(two))
    assert "version 1 -> 2" in problem
    assert accept(golden, two) == [problem]

    with pytest.raises(ConfigError, match="went back from 2 to 1"):
        accept(golden, one)
    assert "no longer a step" in fingerprint_problems(read_golden(golden), {})[0]
