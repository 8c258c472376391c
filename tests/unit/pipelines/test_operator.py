"""What counts as an attempt that a run has asked its operator for."""

import json
from collections import Counter
from pathlib import Path

import pytest
from tests.support.synthetic import synthetic_draft

from data.annotation import LabelBook
from data.robots.pace import NO_PACE
from data.robots.session import Kept
from pipelines.operating import Missing, read_request
from pipelines.operator import NOTE, Attempts, Request, Slot
from pipelines.steps.gate.robot import PLAYERS, blinded
from recap.errors import ConfigError, UnknownName
from recap.types import Annotation, Outcome, Source
from recap.workspace import Workspace

SLOTS = tuple(Slot(key=f"alone/{n}", number=n, remark="you demonstrate") for n in range(2))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def _request(**changed: object) -> Request:
    usual = {"run": "r", "node": "0/t/record", "task": "t", "devices": "d", "noise_seed": 0, "slots": SLOTS}
    return Request(**{**usual, "named": {}, **changed})


class Bench:
    """Makes attempts of a request without a robot."""

    def __init__(self, workspace: Workspace, request: Request) -> None:
        self.made = Attempts(workspace, request)
        self.plan = Missing(self.made, lambda slot: None)
        self.seed = 0

    def attempt(self, outcome: Outcome, *, episode: bool = True, label: bool = True, again: bool = False) -> str:
        """Makes the next; `again`: it looks exactly like the one before."""
        turn = self.plan.next(())
        assert turn is not None
        self.seed += not again
        draft = synthetic_draft(self.seed, length=4, source=Source.DEMO)
        one = Kept(
            draft=draft,
            episode_id="",
            outcome=outcome,
            choice="",
            source="demo",
            note="",
            steps=4,
            human_steps=4,
            stale_steps=(),
            changed_steps=0,
            pace=NO_PACE,
            slot=turn.slot,
        )
        name = self.made.store.id_of(draft)
        self.plan.note(one, name, outcome)
        if episode:
            assert self.made.store.commit(draft) == name
        if label:
            self.made.book.record(Annotation(episode_id=name, outcome=outcome), by="ada")
        return name


def test_a_slot_is_filled_by_a_judged_attempt_and_an_aborted_one_is_made_again(workspace: Workspace) -> None:
    bench = Bench(workspace, _request())
    bench.attempt(Outcome.ABORTED)
    assert bench.plan.progress(()) == (0, 2)
    first = bench.attempt(Outcome.FAILURE)
    second = bench.attempt(Outcome.SUCCESS)
    assert bench.plan.next(()) is None
    filled = bench.made.filled()
    assert {slot: row["episode_id"] for slot, row in filled.items()} == {"alone/0": first, "alone/1": second}
    assert [row["slot"] for row in bench.made.aborted()] == ["alone/0"]


def test_two_attempts_that_look_exactly_alike_are_two(workspace: Workspace) -> None:
    bench = Bench(workspace, _request())
    first = bench.attempt(Outcome.FAILURE)
    assert bench.attempt(Outcome.FAILURE, again=True) == first
    assert bench.made.filled().keys() == {"alone/0", "alone/1"}


def test_what_people_say_later_is_what_counts(workspace: Workspace) -> None:
    bench = Bench(workspace, _request())
    name = bench.attempt(Outcome.FAILURE)
    book = LabelBook(workspace.root / "labels")
    book.record(Annotation(episode_id=name, outcome=Outcome.SUCCESS), by="bob")
    assert bench.made.filled()["alone/0"]["outcome"] == "success"
    book.record(Annotation(episode_id=name, outcome=Outcome.ABORTED), by="bob")
    assert bench.made.filled() == {}


def test_a_line_without_its_episode_counts_for_nothing_and_a_label_left_out_is_written(workspace: Workspace) -> None:
    bench = Bench(workspace, _request())
    bench.attempt(Outcome.SUCCESS, episode=False, label=False)
    assert bench.plan.recover(by="ada") == ""
    assert bench.plan.progress(()) == (0, 2)
    name = bench.attempt(Outcome.SUCCESS, label=False)
    assert bench.plan.progress(()) == (0, 2)
    assert bench.plan.recover(by="ada") == name
    assert bench.plan.progress(()) == (1, 2)
    assert bench.plan.recover(by="ada") == "", "once"


def test_a_verdict_taken_back_is_not_given_again_by_the_recovery(workspace: Workspace) -> None:
    bench = Bench(workspace, _request())
    name = bench.attempt(Outcome.SUCCESS, label=False)
    choice = bench.made.book.record(Annotation(episode_id=name, outcome=Outcome.SUCCESS), by="ada")
    bench.made.book.undo(choice, by="ada")
    assert bench.plan.recover(by="ada") == ""


def test_only_the_same_devices_and_weights_count_and_more_slots_keep_those_that_are_filled(
    workspace: Workspace,
) -> None:
    bench = Bench(workspace, _request())
    bench.attempt(Outcome.SUCCESS)
    more = (*SLOTS, Slot(key="alone/2", number=2, remark="you demonstrate"))
    assert Attempts(workspace, _request(slots=more)).filled().keys() == {"alone/0"}
    assert Attempts(workspace, _request(devices="other")).filled() == {}
    of_a_policy = tuple(Slot(key=slot.key, number=0, remark="", policy_id="x") for slot in SLOTS)
    others = Attempts(workspace, _request(slots=of_a_policy))
    assert others.filled() == {}
    assert "1 made before do not count" in others.left_out()


def test_the_note_of_a_run_is_read_and_a_foreign_path_in_it_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"no run in .* waits for attempts"):
        read_request(workspace, None)
    with pytest.raises(UnknownName):
        read_request(workspace, "nobody")
    folder = workspace.run_dir("r")
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError, match="run 'r' waits for no attempts"):
        read_request(workspace, "r")
    note = {"run": "r", "node": "0/t/record", "task": "t", "devices": "d", "named": {}, "noise_seed": 0}
    slot = {"key": "a", "number": 0, "remark": "", "policy_id": "x"}
    (folder / NOTE).write_text(json.dumps({**note, "slots": [{**slot, "policy": "artifacts/p"}]}))
    assert read_request(workspace, None).slots[0].policy == "artifacts/p"
    (folder / NOTE).write_text(json.dumps({**note, "slots": [{**slot, "policy": "../../elsewhere"}]}))
    with pytest.raises(ConfigError, match="expected one below"):
        read_request(workspace, "r")


def test_both_players_meet_a_drifting_scene_alike_and_the_order_is_drawn_anew_per_gate() -> None:
    pairs = [f"t/{n}" for n in range(400)]
    order = blinded(pairs, order="r/1/gate")
    assert order == blinded(pairs, order="r/1/gate")
    assert order != blinded(pairs, order="r/2/gate")
    assert sorted(order) == sorted((name, pair) for name in PLAYERS for pair in pairs)
    players = [name for name, _ in order]
    blocks = [tuple(players[i : i + 4]) for i in range(0, len(players), 4)]
    assert {block.count("champion") for block in blocks} == {2}
    counts = Counter(blocks)
    assert len(counts) == 6
    assert min(counts.values()) > 15, "200 blocks over six orders"
    for name in PLAYERS:
        assert [pair for player, pair in order if player == name] == pairs, "one after the other"


def test_an_odd_number_of_pairs_is_played_too() -> None:
    assert sorted(blinded(["a", "b", "c"], order="x")) == sorted((n, p) for n in PLAYERS for p in "abc")
