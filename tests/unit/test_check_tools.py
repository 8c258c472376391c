"""What `make check` says of the code does not hang on the folders that runs leave in the checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
ROOTS = ("recap", "data", "value_model", "policy", "pipelines", "cli", "tests", "benchmarks", "plugins", "scripts")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code in which workspaces lie, one called as the default and others as packages that we import."""
    copy = tmp_path / "checkout"
    for name in ROOTS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".*"))
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, copy)
    local = {path.stem for path in (ROOT / "tests").rglob("*.py") if not path.stem.startswith(("test_", "__", "conft"))}
    for name in {"runs", "torch", "ray", "mlflow", *local}:
        workspace = copy / name
        workspace.mkdir()
        (workspace / "workspace.json").write_text('{"format": 1}')
    # A source file that a step copied, or a person left there: none of it is the project's.
    (copy / "runs" / "scratch.py").write_text("import os,sys\nx:int='no'\n")
    return copy


def _run(line: str, checkout: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = line.split()
    return subprocess.run(
        [str(TOOLS / Path(program).name), *arguments], cwd=checkout, capture_output=True, text=True, check=False
    )


def _lines_of_check() -> list[str]:
    (recipe,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [line.strip() for line in recipe.splitlines()]


def test_ruff_says_the_same_while_workspaces_lie_in_the_checkout(checkout: Path) -> None:
    lines = [line for line in _lines_of_check() if "ruff" in line]
    assert len(lines) == 2
    for line in lines:
        done = _run(f"{line} --no-cache", checkout)
        assert done.returncode == 0, f"{line}:\n{done.stdout}{done.stderr}"


def test_ruff_still_sorts_imports(checkout: Path) -> None:
    (checkout / "cli" / "mixed.py").write_text('"""Ours before theirs."""\n\nimport recap\nimport numpy\n')
    done = _run(".venv/bin/ruff check --no-cache --select I cli/mixed.py", checkout)
    assert done.returncode == 1
    assert "I001" in done.stdout


@pytest.mark.slow
def test_every_tool_of_check_says_the_same(checkout: Path) -> None:
    for line in _lines_of_check():
        done = _run(line, checkout)
        assert done.returncode == 0, f"{line}:\n{done.stdout}{done.stderr}"


def test_tests_of_a_file_share_a_worker(request: pytest.FixtureRequest, worker_id: str) -> None:
    """pytest 9.2 makes pytest-xdist 3.8 lose its groups without a word: fixtures were made once for every worker."""
    if worker_id == "master":
        pytest.skip("one process: no groups (they come with pytest -n)")
    assert request.node.nodeid.endswith("@test_check_tools")
