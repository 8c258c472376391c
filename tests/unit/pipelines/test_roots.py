from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.roots import ROOT_PACKAGES, check_roots, project_root
from recap.errors import LayoutError

CHECK = """
import sys
sys.path.insert(0, {foreign!r})
from pipelines.roots import check_roots
from recap.errors import LayoutError
try:
    check_roots()
except LayoutError as error:
    sys.stdout.write(str(error))
assert "value_model" not in sys.modules and {name!r} not in sys.modules, "nothing is imported by the check"
"""


def test_recaps_own_packages_are_accepted_and_cheaply() -> None:
    began = time.process_time()
    check_roots()
    assert time.process_time() - began < 0.1
    assert all((project_root() / name / "__init__.py").is_file() for name in ROOT_PACKAGES)


@pytest.mark.parametrize(("name", "kind"), [("data", "module"), ("policy", "package"), ("cli", "package")])
def test_a_foreign_package_is_named(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "module":
        foreign = tmp_path / f"{name}.py"
        foreign.write_text("raise SystemExit('imported')")
    else:
        foreign = tmp_path / name
        foreign.mkdir()
        (foreign / "__init__.py").write_text("raise SystemExit('imported')")
    script = CHECK.format(foreign=str(tmp_path), name=name)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr
    assert f"`import {name}` finds {foreign}" in done.stdout
    assert "next: rename" in done.stdout


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines.roots as roots

    monkeypatch.setattr(roots, "ROOT_PACKAGES", ("recap", "recap_no_such_package"))
    with pytest.raises(LayoutError, match="recap_no_such_package' is not installed"):
        roots.check_roots()
