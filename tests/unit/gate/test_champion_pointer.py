"""The champion of a run: names a committed artifact or nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.faults import damage

from recap import faults
from recap.champion import (
    Champion,
    champion_artifact,
    champion_path,
    champions,
    earlier_champions,
    read_champion,
    roll_back,
    write_champion,
)
from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import sha256_hex
from recap.step import DirOutput, JsonOutput
from recap.store import Store
from recap.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def champion(workspace: Workspace, *, weights: bytes = b"weights", run: str = "r", since: float = 5.0) -> Champion:
    """A committed promote result and the champion that names it, not yet written."""
    store, key = Store(workspace), sha256_hex(weights)
    found = store.load("promote", key)
    if found is None:
        draft = store.begin("promote", key)
        (draft.out / "policy").mkdir()
        (draft.out / "policy" / "weights.bin").write_bytes(weights)
        outputs = {"champion": DirOutput(draft.out / "policy"), "decision": JsonOutput({"verdict": "promoted"})}
        found = store.commit(draft, outputs, {})
    return Champion(
        run=run,
        node="1/promote",
        step="promote",
        key=key,
        output="champion",
        identity=found["champion"].identity,
        policy_id="policy-1",
        since=since,
        verdict="promoted",
        reason="better",
    )


def test_what_was_written_is_read_back(workspace: Workspace) -> None:
    assert read_champion(workspace, "r") is None
    assert champions(workspace) == []
    named = write_champion(workspace, champion(workspace))
    assert read_champion(workspace, "r") == named
    assert champions(workspace) == [named]
    artifact = champion_artifact(workspace, named)
    assert (artifact.path / "weights.bin").read_bytes() == b"weights"
    assert json.loads(champion_path(workspace, "r").read_text())["policy_id"] == "policy-1"


def test_a_new_policy_replaces_it_and_the_same_one_keeps_its_date(workspace: Workspace) -> None:
    write_champion(workspace, champion(workspace, since=5.0))
    again = write_champion(
        workspace, replace(champion(workspace, since=9.0), node="2/promote", verdict="kept", reason="worse")
    )
    assert (again.since, again.node, again.verdict) == (5.0, "2/promote", "kept")
    other = write_champion(workspace, champion(workspace, weights=b"better", since=11.0))
    assert other.since == 11.0
    assert read_champion(workspace, "r") == other


def test_every_run_has_its_own(workspace: Workspace) -> None:
    for run in ("a", "b.json"):
        write_champion(workspace, champion(workspace, weights=run.encode(), run=run))
    assert [found.run for found in champions(workspace)] == ["a", "b.json"]
    assert read_champion(workspace, "c") is None


@pytest.mark.parametrize("how", ["gone", "torn", "identity", "output"])
def test_a_champion_that_is_not_there_is_never_named(workspace: Workspace, how: str) -> None:
    old = write_champion(workspace, champion(workspace))
    new = champion(workspace, weights=b"new")
    folder = Store(workspace).path("promote", new.key)
    if how == "gone":
        shutil.rmtree(folder)
    elif how == "torn":
        damage(folder / "champion" / "weights.bin", "truncate")
    elif how == "identity":
        new = replace(new, identity=old.identity)
    else:
        new = replace(new, output="policy")
    with pytest.raises(ArtifactCorrupt):
        write_champion(workspace, new)
    assert read_champion(workspace, "r") == old


def test_a_champion_whose_artifact_goes_later_is_found_out(workspace: Workspace) -> None:
    named = write_champion(workspace, champion(workspace))
    shutil.rmtree(Store(workspace).path("promote", named.key))
    with pytest.raises(ArtifactCorrupt, match="no artifact promote"):
        champion_artifact(workspace, named)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "run": "r", "surprise": 1}', b"\xff"],
)
def test_a_spoilt_file_is_refused_and_can_be_written_over(workspace: Workspace, content: bytes) -> None:
    named = write_champion(workspace, champion(workspace))
    champion_path(workspace, "r").write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match="is not a champion"):
        read_champion(workspace, "r")
    assert write_champion(workspace, named) == read_champion(workspace, "r") == named


def test_fields_of_a_wrong_type_or_run_are_refused(workspace: Workspace) -> None:
    write_champion(workspace, champion(workspace))
    path = champion_path(workspace, "r")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"key": 7}))
    with pytest.raises(ArtifactCorrupt, match="key"):
        read_champion(workspace, "r")
    path.write_text(json.dumps(record | {"run": "other"}))
    with pytest.raises(ArtifactCorrupt, match="other"):
        read_champion(workspace, "r")
    path.write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        read_champion(workspace, "r")


@pytest.mark.parametrize("name", ["../r", "a/b", "", ".", "..", "a b", ".hidden", "x" * 101])
def test_names_that_lead_elsewhere_are_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(ConfigError, match="run name"):
        read_champion(workspace, name)
    with pytest.raises(ConfigError, match="run name"):
        write_champion(workspace, champion(workspace, run=name))


def three(workspace: Workspace) -> list[Champion]:
    """Three champions of one run, one after the other."""
    made = [
        replace(champion(workspace, weights=weights), policy_id=sha256_hex(weights)) for weights in (b"a", b"b", b"c")
    ]
    return [write_champion(workspace, one) for one in made]


def test_a_rollback_goes_back_one_by_default_and_to_any_by_name(workspace: Workspace) -> None:
    first, second, third = three(workspace)
    assert earlier_champions(workspace, "r") == [second, first]
    back = roll_back(workspace, "r", why="it drops shirts")
    assert (back.identity, back.verdict, back.instead_of) == (second.identity, "rolled_back", third.identity)
    assert "it drops shirts" in back.reason
    assert read_champion(workspace, "r") == back
    assert [one.identity for one in earlier_champions(workspace, "r")] == [third.identity, first.identity]
    assert roll_back(workspace, "r", to=first.policy_id[:8]).identity == first.identity
    # Taking a rollback back is a rollback as well: to what the run had before it.
    assert roll_back(workspace, "r").identity == second.identity


def test_a_rollback_to_nothing_leaves_the_pointer(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="no champion yet"):
        roll_back(workspace, "r")
    only = write_champion(workspace, champion(workspace))
    with pytest.raises(ConfigError, match="no earlier champion to go back to"):
        roll_back(workspace, "r")
    second = write_champion(workspace, champion(workspace, weights=b"other"))
    with pytest.raises(ConfigError, match="no earlier champion begins 'ffff'"):
        roll_back(workspace, "r", to="ffff")
    shutil.rmtree(Store(workspace).path(only.step, only.key))
    with pytest.raises(ArtifactCorrupt, match="no artifact promote"):
        roll_back(workspace, "r")
    assert read_champion(workspace, "r") == second


@pytest.mark.parametrize("point", ["champion_history.after_append", "champion.before_write", "champion.before_sync"])
def test_a_rollback_that_is_killed_leaves_the_old_champion_or_the_new(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    first, second, third = three(workspace)
    monkeypatch.setattr(faults, "_seen", {})
    monkeypatch.setenv("RECAP_FAULT", f"{point}:1:raise")
    with pytest.raises(faults.FaultInjected):
        roll_back(workspace, "r")
    monkeypatch.delenv("RECAP_FAULT")
    current = read_champion(workspace, "r")
    assert current is not None
    assert current.identity == (second if point == "champion.before_sync" else third).identity
    known = [current.identity, *(one.identity for one in earlier_champions(workspace, "r"))]
    assert sorted(known) == sorted(one.identity for one in (first, second, third))
    assert roll_back(workspace, "r", to=first.policy_id).identity == first.identity


def test_a_torn_history_is_no_champion(workspace: Workspace) -> None:
    three(workspace)
    path = champion_path(workspace, "r").with_suffix(".jsonl")
    path.write_bytes(path.read_bytes().replace(b'"since"', b'"sinse"'))
    with pytest.raises(ArtifactCorrupt, match="is not a champion"):
        roll_back(workspace, "r")
