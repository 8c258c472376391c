"""`recap gc` as a person or a script sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.fakes import InlineExecutor
from toy_steps import toy_graph
from typer.testing import CliRunner

from cli.main import app
from recap.runner import Runner
from recap.store import Store
from recap.texts import size_text
from recap.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    workspace = Workspace.open(tmp_path / "my runs")
    for factor in (2.0, 3.0):
        Runner(workspace, InlineExecutor).run(toy_graph(factor=factor), "r")
    (workspace.scratch / "scale-0000000000000000").mkdir()
    (workspace.scratch / "scale-0000000000000000" / "part").write_bytes(b"x" * 2048)
    return workspace.root


def gc(root: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["gc", "--workspace", str(root), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_lists_and_changes_nothing_until_told(root: Path) -> None:
    before = sorted(root.rglob("*"))
    shown = gc(root, "--keep", "0")
    assert "   2.0 KiB  scratch     scratch/scale-0000000000000000  (no run goes on with it)" in shown
    assert "nothing was changed" in shown
    assert f"recap gc --workspace '{root}' --delete --keep 0" in shown
    assert sorted(root.rglob("*")) == before
    removed = gc(root, "--keep", "0", "--delete")
    assert "of disk given back" in removed
    assert not (root / "scratch" / "scale-0000000000000000").exists()
    assert "nothing to remove" in gc(root, "--keep", "0")
    assert Store(Workspace.open(root)).verify() == []


def test_the_table_and_the_json_say_the_same(root: Path) -> None:
    plan = json.loads(gc(root, "--keep", "0", "--json"))
    assert plan["deleted"] is False
    assert {item["kind"] for item in plan["items"]} == {"artifact", "scratch"}
    assert plan["frees"] == sum(item["bytes"] for item in plan["items"])
    artifacts = [item for item in plan["items"] if item["kind"] == "artifact"]
    assert f"artifact    {plan['kept']['artifact']:>5} kept  {len(artifacts):>5} can go" in gc(root, "--keep", "0")
    assert json.loads(gc(root, "--keep", "0", "--json", "--delete"))["items"] == plan["items"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**40, "5.0 TiB"), (2**30, "1.0 GiB")]
)
def test_sizes_are_read_at_a_glance(count: int, text: str) -> None:
    assert size_text(count) == text
