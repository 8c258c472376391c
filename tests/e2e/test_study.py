"""`recap study` on real physics: stopped between cells or killed within one it goes on; tables need its files alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from runs import TASK, recap

ARMS = ("--arm", "imitation", "--arm", "all")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_is_killed_stopped_resumed_and_told_from_its_files(tmp_path: Path) -> None:
    workspace, results = tmp_path / "w", tmp_path / "results"

    def study(command: str, *more: str, fault: str = "", expect: int = 0) -> str:
        where = workspace if command == "run" else None
        done = recap("study", command, "micro", "--results", str(results), *more, workspace=where, fault=fault)
        assert done.returncode == expect, done.stderr
        if command == "tables" and not expect:
            assert done.stderr.rstrip().endswith("imported:"), "no torch, no simulator"
        return done.stderr if expect else done.stdout

    study("run", *ARMS, fault="1/all/policy@train.step:3:kill", expect=-9)
    cells = sorted(path.relative_to(results) for path in results.rglob("seed-*.json"))
    assert [str(path) for path in cells] == [f"micro/{TASK}/imitation/seed-0.json"]
    first = (results / cells[0]).read_bytes()

    assert "written 0, there already 1, no time for 3" in study("run", *ARMS, "--max-minutes", "0")
    assert "written 3, there already 1, no time for 0" in study("run", *ARMS)
    assert (results / cells[0]).read_bytes() == first
    assert "written 0, there already 4" in study("run", *ARMS)

    said = json.loads((results / "micro" / TASK / "all" / "seed-1.json").read_text())
    assert said["start_seeds"] == [30_000_000, 30_000_001]
    assert said["share_positive"] == 1.0
    assert said["minutes"] > 0
    assert said["iteration"] == 1
    assert len({json.loads(path.read_text())["policy_id"] for path in results.rglob("seed-*.json")}) == 4

    shutil.rmtree(workspace)
    told = study("tables", "--write", str(tmp_path / "page.md"))
    assert "4 of 6 cells" in told
    assert "| all - imitation | " in told
    assert told in (tmp_path / "page.md").read_text()
    missing = json.loads(study("list", "--json"))
    assert {plan["arm"]: plan["missing"] for plan in missing} == {"imitation": [], "all": [], "viva": [0, 1]}

    file = results / "micro" / "study.json"
    content = json.loads(file.read_text())
    content[f"{TASK} standard"]["evaluate"]["attempts"] = 3
    file.write_text(json.dumps(content))
    assert f"other settings than this recap would run it with: {TASK} standard.evaluate.attempts" in study(
        "run", *ARMS, expect=2
    )
    assert "is a cell of other settings" in study("tables", expect=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "mikro"], "unknown study 'mikro': did you mean 'micro'?"),
        (["run", "micro", "--arm", "al"], "unknown arm of the study 'al': did you mean 'all'?"),
        (["run", "micro", "--seed", "7"], "unknown training seed of the study '7'"),
        (["run", "micro", "--variant", "bare"], "unknown variant of the study 'bare'"),
        (["tables", "micro"], "no cell of study 'micro'"),
    ],
)
def test_what_a_study_does_not_have_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    where = tmp_path / "w" if arguments[0] == "run" else None
    refused = recap("study", *arguments, "--results", str(tmp_path / "r"), workspace=where)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert not list(tmp_path.iterdir())
