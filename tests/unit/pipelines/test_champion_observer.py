"""The champion pointer follows the nodes that decide it, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.champion import ChampionObserver
from pipelines.steps.gate.outputs import GateResult
from recap.champion import read_champion, roll_back
from recap.gate import GateConfig, Verdict, decide
from recap.hashing import sha256_hex
from recap.step import DirOutput, JsonOutput
from recap.store import Store
from recap.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def _result(verdict: str) -> GateResult:
    undecided = decide([], [], GateConfig())
    decision = replace(undecided, verdict=Verdict(verdict), reason=f"it was {verdict}", final=True, next_starts=None)
    return GateResult(decision=decision, renderer="ray", champion_policy_id="a", challenger_policy_id="b", attempts=())


def _commit(workspace: Workspace, step: str, content: str, verdict: str = "") -> dict[str, Any]:
    """A committed result of one node and the event that announces it."""
    store = Store(workspace)
    key = sha256_hex(f"{step}{content}{verdict}".encode())
    draft = store.begin(step, key)
    output = {"checkpoint_selection": "policy", "gate": "champion", "policy": "candidates"}[step]
    folder = draft.out / output
    folder.mkdir()
    (folder / "weights.bin").write_text(content)
    outputs: dict[str, Any] = {output: DirOutput(folder)}
    if verdict:
        outputs["decision"] = JsonOutput.of(_result(verdict))
    store.commit(draft, outputs, {"step": step})
    return {"step": step, "key": key}


def _tell(observer: ChampionObserver, node: str, event: dict[str, Any], kind: str = "step_done") -> None:
    observer.on_event({"kind": kind, "node": node, **event})


def test_the_first_policy_is_champion_until_a_gate_promotes_another(workspace: Workspace) -> None:
    observer = ChampionObserver(workspace, "r")
    with workspace.lock("test"):
        _tell(observer, "0/policy", _commit(workspace, "policy", "candidates"))
        assert read_champion(workspace, "r") is None
        first = _commit(workspace, "checkpoint_selection", "imitation")
        _tell(observer, "0/checkpoint_selection", first)
        before = read_champion(workspace, "r")
        _tell(observer, "1/checkpoint_selection", _commit(workspace, "checkpoint_selection", "challenger"))
        assert read_champion(workspace, "r") == before, "a challenger is no champion before the gate says so"
        _tell(observer, "1/gate", _commit(workspace, "gate", "challenger", "promoted"))
        after = read_champion(workspace, "r")
    assert before is not None
    assert (before.node, before.verdict) == ("0/checkpoint_selection", "initial")
    assert after is not None
    assert (after.node, after.verdict, after.reason) == ("1/gate", "promoted", "it was promoted")
    assert after.identity != before.identity


def test_cached_nodes_move_the_pointer_once_and_keep_its_date(workspace: Workspace) -> None:
    select = _commit(workspace, "checkpoint_selection", "imitation")
    promote = _commit(workspace, "gate", "challenger", "promoted")
    with workspace.lock("test"):
        first = ChampionObserver(workspace, "r")
        _tell(first, "0/checkpoint_selection", select)
        _tell(first, "1/gate", promote)
        dated = read_champion(workspace, "r")
        again = ChampionObserver(workspace, "r")
        _tell(again, "0/checkpoint_selection", select, "step_cached")
        assert read_champion(workspace, "r") == dated, "the way through old nodes is not a change of champion"
        _tell(again, "1/gate", promote, "step_cached")
        again.on_event({"kind": "run_done", "state": "done"})
    assert read_champion(workspace, "r") == dated


def test_a_kept_champion_stays_and_says_why(workspace: Workspace) -> None:
    observer = ChampionObserver(workspace, "r")
    with workspace.lock("test"):
        _tell(observer, "0/checkpoint_selection", _commit(workspace, "checkpoint_selection", "imitation"))
        _tell(observer, "1/gate", _commit(workspace, "gate", "imitation", "kept"))
    kept = read_champion(workspace, "r")
    assert kept is not None
    assert kept.verdict == "kept"
    assert kept.node == "1/gate"


@pytest.mark.parametrize("state", ["failed", "interrupted", "waiting"])
def test_a_run_that_stops_early_does_not_take_the_champion_back(workspace: Workspace, state: str) -> None:
    select = _commit(workspace, "checkpoint_selection", "imitation")
    with workspace.lock("test"):
        first = ChampionObserver(workspace, "r")
        _tell(first, "0/checkpoint_selection", select)
        _tell(first, "1/gate", _commit(workspace, "gate", "challenger", "promoted"))
        champion = read_champion(workspace, "r")
        again = ChampionObserver(workspace, "r")
        _tell(again, "0/checkpoint_selection", select, "step_cached")
        again.on_event({"kind": "run_done", "state": state})
    assert read_champion(workspace, "r") == champion


def test_a_run_issued_again_leaves_a_rollback_until_another_policy_is_promoted(workspace: Workspace) -> None:
    select = _commit(workspace, "checkpoint_selection", "imitation")
    promote = _commit(workspace, "gate", "challenger", "promoted")
    with workspace.lock("test"):
        first = ChampionObserver(workspace, "r")
        _tell(first, "0/checkpoint_selection", select)
        _tell(first, "1/gate", promote)
        back = roll_back(workspace, "r")
        again = ChampionObserver(workspace, "r")
        _tell(again, "0/checkpoint_selection", select, "step_cached")
        _tell(again, "1/gate", promote, "step_cached")
        again.on_event({"kind": "run_done", "state": "done"})
        assert read_champion(workspace, "r") == back
        # The next gate asked whether a third is better than the policy that was taken back, and kept that.
        _tell(again, "2/gate", _commit(workspace, "gate", "challenger", "kept"))
        assert read_champion(workspace, "r") == back
        _tell(again, "3/gate", _commit(workspace, "gate", "third", "promoted"))
    promoted = read_champion(workspace, "r")
    assert promoted is not None
    assert (promoted.node, promoted.verdict) == ("3/gate", "promoted")


def test_a_run_without_gates_does_not_depose_who_was_promoted_elsewhere(workspace: Workspace) -> None:
    select = _commit(workspace, "checkpoint_selection", "imitation")
    with workspace.lock("test"):
        night = ChampionObserver(workspace, "r", gated=False)
        _tell(night, "0/checkpoint_selection", select)
        first = read_champion(workspace, "r")
        assert first is not None
        _tell(ChampionObserver(workspace, "r"), "1/gate", _commit(workspace, "gate", "challenger", "promoted"))
        promoted = read_champion(workspace, "r")
        again = ChampionObserver(workspace, "r", gated=False)
        _tell(again, "0/checkpoint_selection", select, "step_cached")
        again.on_event({"kind": "run_done", "state": "done"})
        _tell(again, "0/checkpoint_selection", _commit(workspace, "checkpoint_selection", "imitation anew"))
        assert read_champion(workspace, "r") == promoted
    assert promoted is not None
    assert promoted.verdict == "promoted"


def test_a_new_first_policy_does_not_take_the_place_of_one_that_a_gate_chose(workspace: Workspace) -> None:
    """More demonstrations were asked for after a promotion: the run waits at an attempt of its new imitation."""
    with workspace.lock("test"):
        first = ChampionObserver(workspace, "r")
        _tell(first, "0/checkpoint_selection", _commit(workspace, "checkpoint_selection", "imitation"))
        _tell(first, "1/gate", _commit(workspace, "gate", "challenger", "promoted"))
        champion = read_champion(workspace, "r")
        again = ChampionObserver(workspace, "r")
        _tell(again, "0/checkpoint_selection", _commit(workspace, "checkpoint_selection", "more demonstrations"))
        again.on_event({"kind": "run_done", "state": "waiting"})
        assert read_champion(workspace, "r") == champion
        _tell(again, "1/gate", _commit(workspace, "gate", "of them", "promoted"))
    after = read_champion(workspace, "r")
    assert champion is not None
    assert after is not None
    assert after.identity != champion.identity


def test_what_was_taken_back_twice_stays_taken_back(workspace: Workspace) -> None:
    gates = [_commit(workspace, "gate", name, "promoted") for name in ("one", "two", "three")]
    identities = []
    with workspace.lock("test"):
        observer = ChampionObserver(workspace, "r")
        for number, gate in enumerate(gates, 1):
            _tell(observer, f"{number}/gate", gate)
            champion = read_champion(workspace, "r")
            assert champion is not None
            identities.append(champion.identity)
        assert roll_back(workspace, "r").identity == identities[1]
        back = roll_back(workspace, "r", to=identities[0][:12])
        assert back.instead_of.split() == [identities[1], identities[2]]
        again = ChampionObserver(workspace, "r")
        for number, gate in enumerate(gates, 1):
            _tell(again, f"{number}/gate", gate, "step_cached")
        again.on_event({"kind": "run_done", "state": "done"})
        assert read_champion(workspace, "r") == back
        assert roll_back(workspace, "r", to=identities[2][:12]).instead_of.split() == [identities[0], identities[1]]
