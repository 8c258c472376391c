"""Recorded experience taken over: what is taken, what is refused by name, and that nothing is read or said twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.fakes import InlineExecutor
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.annotation import LabelBook, gather_annotations
from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from pipelines.facts import EnvConfig
from pipelines.steps.record.folder import contents, open_recorded
from pipelines.steps.record.outputs import Recording
from pipelines.steps.record.step import ImportedConfig, RecordFacts
from pipelines.steps.record.worker import Importer
from recap.errors import ConfigError, EpisodeCorrupt, RecapError, StepFailed
from recap.graph import Graph
from recap.runner import Runner, RunSummary
from recap.specs import Split, start_seeds
from recap.step import Artifact
from recap.types import Annotation, EpisodeDraft, Outcome, Source
from recap.workspace import Workspace

TASK = "shirt_folding"
NODE = f"0/{TASK}/record"
Outputs = Mapping[str, Artifact]


def _record(store: EpisodeStore, seeds: range, source: Source, *, truth: bool = True, **more: Any) -> list[str]:
    """Short episodes, every second one a success."""
    ids = []
    for seed in seeds:
        draft = synthetic_draft(seed, length=3, source=source, **more)
        outcome = Outcome.FAILURE if seed % 2 else Outcome.SUCCESS
        ids.append(store.commit(draft, synthetic_truth(draft, outcome) if truth else None))
    return ids


@pytest.fixture
def there(tmp_path: Path) -> EpisodeStore:
    """Three demonstrations in another workspace."""
    workspace = Workspace.open(tmp_path / "there")
    store = EpisodeStore(workspace.episodes)
    _record(store, range(3), Source.DEMO)
    return store


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "here")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The episodes that were read in full, as they are."""
    done: list[str] = []
    run = Importer.run

    def counted(self: Importer, job: str) -> dict[str, Any]:
        done.append(job)
        return run(self, job)

    monkeypatch.setattr(Importer, "run", counted)
    return done


def _take(here: Workspace, folder: Path, *, role: str = "demos", **settings: Any) -> tuple[RunSummary, Outputs]:
    facts = RecordFacts(tasks=(TASK,), env=EnvConfig(), role=role, folder=str(folder))
    graph = Graph()
    source = graph.constant("source", contents(open_recorded(folder, option=facts.option), option=facts.option))
    graph.add(NODE, "record", ImportedConfig(**settings), facts, source=source)
    summary = Runner(here, InlineExecutor).run(graph, "r")
    return summary, summary.outputs[NODE]


def _recording(outputs: Outputs) -> Recording:
    return outputs["summary"].read(Recording)


def _unlabelled(outputs: Outputs) -> list[str]:
    return [one.episode_id for one in _recording(outputs).attempts if one.outcome is None]


def _refused(here: Workspace, folder: Path, **settings: Any) -> RecapError:
    with pytest.raises(StepFailed) as failed:
        _take(here, folder, **settings)
    cause = failed.value.__cause__
    assert isinstance(cause, RecapError)
    assert not EpisodeStore(here.episodes).ids(), "nothing is copied before everything is known to fit"
    return cause


def test_episodes_keep_their_ids_their_bytes_and_their_truth(here: Workspace, there: EpisodeStore) -> None:
    before = {path: path.read_bytes() for path in there.root.parent.rglob("*") if path.is_file()}
    _, outputs = _take(here, there.root)
    after = {path: path.read_bytes() for path in there.root.parent.rglob("*") if path.is_file()}
    assert after == before, "the folder is only read"
    store = EpisodeStore(here.episodes)
    assert EpisodeSet.from_json(outputs["episodes"].json()).ids == there.ids()
    for episode in there.ids():
        assert store.path(episode).read_bytes() == there.path(episode).read_bytes()
        assert store.truth_path(episode).read_bytes() == there.truth_path(episode).read_bytes()
    attempts = _recording(outputs).attempts
    assert sorted(str(one.outcome) for one in attempts) == sorted(map(str, [Outcome.FAILURE, *[Outcome.SUCCESS] * 2]))
    assert all(one.steps == one.human_steps == 3 for one in attempts)
    assert not _recording(outputs).left_out


def test_a_workspace_and_its_episodes_folder_are_the_same_and_may_move(
    here: Workspace, there: EpisodeStore, read: list[str]
) -> None:
    _take(here, there.root.parent)
    again, _ = _take(here, there.root)
    assert again.cached == [NODE]
    moved = there.root.parent.rename(there.root.parent.with_name("elsewhere"))
    again, _ = _take(here, moved)
    assert again.cached == [NODE]
    assert sorted(read) == sorted(EpisodeStore(moved / "episodes").ids())


def test_what_was_added_is_read_and_nothing_else(here: Workspace, there: EpisodeStore, read: list[str]) -> None:
    _take(here, there.root)
    read.clear()
    new = _record(there, range(3, 4), Source.DEMO)
    again, outputs = _take(here, there.root)
    assert again.executed == [NODE]
    assert read == new
    assert EpisodeSet.from_json(outputs["episodes"].json()).ids == there.ids()


def test_only_an_episode_that_was_lost_here_is_read_again(
    here: Workspace, there: EpisodeStore, read: list[str]
) -> None:
    _, before = _take(here, there.root)
    read.clear()
    lost = there.ids()[1]
    EpisodeStore(here.episodes).path(lost).unlink()
    again, after = _take(here, there.root)
    assert again.executed == [NODE]
    assert read == [lost]
    assert after["episodes"].identity == before["episodes"].identity


def test_an_interrupted_take_over_goes_on_where_it_was(
    here: Workspace, there: EpisodeStore, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recap.faults import FaultInjected

    monkeypatch.setattr("recap.faults._seen", {})
    monkeypatch.setenv("RECAP_FAULT", f"{NODE}@ledger.after_append:2:raise")
    with pytest.raises(StepFailed) as failed:
        _take(here, there.root)
    assert isinstance(failed.value.__cause__, FaultInjected)
    monkeypatch.delenv("RECAP_FAULT")
    _take(here, there.root)
    assert read == list(there.ids()), "each was read once"


def test_a_truth_that_came_later_is_taken_over(here: Workspace, there: EpisodeStore, read: list[str]) -> None:
    draft = synthetic_draft(9, length=3)
    late = there.commit(draft)
    _, outputs = _take(here, there.root)
    assert _unlabelled(outputs) == [late]
    read.clear()
    there.commit(draft, synthetic_truth(draft))
    _, outputs = _take(here, there.root)
    assert read == [late]
    assert _unlabelled(outputs) == []
    assert EpisodeStore(here.episodes).has_truth(late)


def test_rollouts_and_demonstrations_are_two_sets_and_their_union_is_a_third(
    here: Workspace, there: EpisodeStore, tmp_path: Path
) -> None:
    rolls = EpisodeStore(tmp_path / "rolls")
    ids = _record(rolls, range(10, 12), Source.ROLLOUT) + _record(rolls, range(12, 13), Source.CORRECTION)
    graph = Graph()
    sets = {}
    for k, (role, store) in enumerate((("demos", there), ("rollouts", rolls))):
        facts = RecordFacts(tasks=(TASK,), env=EnvConfig(), role=role, folder=str(store.root))
        found = contents(open_recorded(store.root, option=facts.option), option=facts.option)
        source = graph.constant(f"{k}/source", found)
        sets[role] = graph.add(f"{k}/record", "record", ImportedConfig(), facts, source=source)["episodes"]
    graph.add("1/experience", "join", None, sets=sets)
    outputs = Runner(here, InlineExecutor).run(graph, "r").outputs
    assert EpisodeSet.from_json(outputs["1/record"]["episodes"].json()).ids == tuple(sorted(ids))
    assert set(EpisodeSet.from_json(outputs["1/experience"]["episodes"].json())) == {*ids, *there.ids()}


def test_aborted_attempts_are_kept_and_not_learned_from(here: Workspace, there: EpisodeStore) -> None:
    aborted = there.ids()[0]
    LabelBook(there.root.parent / "labels").record(Annotation(episode_id=aborted, outcome=Outcome.ABORTED), by="ada")
    _, outputs = _take(here, there.root)
    assert aborted in EpisodeStore(here.episodes).ids()
    assert EpisodeSet.from_json(outputs["episodes"].json()).ids == there.ids()[1:]


def test_an_attempt_called_aborted_later_is_no_longer_learned_from(here: Workspace, there: EpisodeStore) -> None:
    _, outputs = _take(here, there.root)
    assert set(EpisodeSet.from_json(outputs["episodes"].json())) == set(there.ids())
    aborted = there.ids()[1]
    book = LabelBook(here.root / "labels")
    choice = book.record(Annotation(episode_id=aborted, outcome=Outcome.ABORTED), by="ada")
    summary, outputs = _take(here, there.root)
    assert summary.executed == [NODE]
    assert set(EpisodeSet.from_json(outputs["episodes"].json())) == set(there.ids()) - {aborted}
    assert _take(here, there.root)[0].executed == []
    book.undo(choice, by="ada")
    book.record(Annotation(episode_id=aborted, outcome=Outcome.FAILURE), by="ada")
    summary, outputs = _take(here, there.root)
    assert summary.executed == [NODE]
    assert set(EpisodeSet.from_json(outputs["episodes"].json())) == set(there.ids())


# What is refused


def _draft(**changes: Any) -> EpisodeDraft:
    return replace(synthetic_draft(5, length=3), **changes)


@pytest.mark.parametrize(
    ("make", "role", "said"),
    [
        (lambda: _draft(), "rollouts", "recorded as 'demo', expected 'rollout' or 'correction'"),
        (
            lambda: synthetic_draft(5, length=3, source=Source.ROLLOUT),
            "demos",
            "recorded as 'rollout', expected 'demo'",
        ),
        (lambda: _draft(task="pants_folding"), "demos", "of task 'pants_folding', expected 'shirt_folding'"),
        (lambda: _draft(start_seed=start_seeds(Split.TEST, 1)[0]), "demos", "from TEST starts"),
        (lambda: _draft(start_seed=start_seeds(Split.VALIDATION, 1)[0]), "demos", "from VALIDATION starts"),
        (lambda: _draft(robot="other_arm"), "demos", "robot other_arm, expected sim_bimanual"),
        (lambda: _draft(rate_hz=50.0), "demos", "control rate 50 Hz, expected 10 Hz"),
        (lambda: synthetic_draft(5, length=3, state_dim=7), "demos", "state 7 numbers, expected 14 numbers"),
        (lambda: synthetic_draft(5, length=3, action_dim=6), "demos", "action 6 numbers, expected 14 numbers"),
        (lambda: synthetic_draft(5, length=3, cameras=("cam_high",)), "demos", "no camera cam_left_wrist"),
    ],
)
def test_what_is_not_meant_here_is_named(
    here: Workspace, tmp_path: Path, make: Callable[[], EpisodeDraft], role: str, said: str
) -> None:
    store = EpisodeStore(tmp_path / "other")
    odd = store.commit(make())
    refused = _refused(here, store.root, role=role)
    assert isinstance(refused, ConfigError)
    assert said in refused.message
    assert odd[:12] in refused.message
    assert f"--{role} {store.root}" in refused.message


def test_others_are_left_out_and_counted_when_asked(here: Workspace, there: EpisodeStore) -> None:
    rolls = _record(there, range(10, 12), Source.ROLLOUT)
    refused = _refused(here, there.root)
    assert "2 of 5 episodes are not meant here" in refused.message
    assert "--set imported.others=skip" in refused.hint
    _, outputs = _take(here, there.root, others="skip")
    taken = EpisodeSet.from_json(outputs["episodes"].json())
    assert set(taken) == set(there.ids()) - set(rolls) == set(EpisodeStore(here.episodes).ids())
    assert _recording(outputs).left_out == {"recorded as 'rollout', expected 'demo'": tuple(sorted(rolls))}


def test_a_folder_of_nothing_but_others_is_refused_even_then(here: Workspace, there: EpisodeStore) -> None:
    refused = _refused(here, there.root, role="rollouts", others="skip")
    assert "none of its episodes is meant here" in refused.message


def test_every_unreadable_episode_is_named(here: Workspace, there: EpisodeStore) -> None:
    torn, altered = there.path(there.ids()[0]), there.path(there.ids()[2])
    torn.write_bytes(torn.read_bytes()[:100])
    refused = _refused(here, there.root)
    assert isinstance(refused, EpisodeCorrupt)
    assert torn.stem[:16] in refused.message
    assert f"recap data verify --workspace {there.root.parent}" in refused.hint

    torn.unlink()
    content = bytearray(altered.read_bytes())
    place = content.find(b"frames/cam_high/c/0") + 200
    content[place] ^= 0xFF
    altered.write_bytes(content)
    with pytest.raises(StepFailed, match=altered.stem[:16]) as failed:
        _take(here, there.root)
    assert isinstance(failed.value.__cause__, EpisodeCorrupt)
    altered.unlink()
    _take(here, there.root)
    assert EpisodeStore(here.episodes).ids() == there.ids()


@pytest.mark.parametrize(("name", "said"), [("nowhere", "does not exist"), ("file", "is no directory")])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=f"--demos .*{name}: {said}"):
        open_recorded(tmp_path / name, option="--demos")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no episode there"):
        contents(open_recorded(tmp_path, option="--demos"), option="--demos")


# What people said there


def _said(here: Workspace, store: EpisodeStore) -> dict[str, str]:
    ids = EpisodeStore(here.episodes).ids()
    found = gather_annotations(store, ids, label_book=LabelBook(here.root / "labels"))
    return {episode: annotation.outcome.value for episode, annotation in found.by_id.items()}


def test_labels_come_along_once_and_follow_their_source(here: Workspace, tmp_path: Path) -> None:
    there = EpisodeStore(tmp_path / "w" / "episodes")
    first, second, third = sorted(_record(there, range(3), Source.DEMO, truth=False))
    book, own = LabelBook(tmp_path / "w" / "labels"), LabelBook(here.root / "labels")
    book.record_all([Annotation(episode_id=i, outcome=Outcome.FAILURE) for i in (first, second)], by="ada")

    _, outputs = _take(here, there.root)
    assert _unlabelled(outputs) == [third]
    assert _said(here, there) == {first: "failure", second: "failure"}
    assert {entry.origin for entry in own.entries()} == {"imported"}

    own.record(Annotation(episode_id=first, outcome=Outcome.SUCCESS), by="bob")
    book.record_all([Annotation(episode_id=i, outcome=Outcome.ABORTED) for i in (first, second)], by="ada")
    again, _ = _take(here, there.root)
    assert again.executed == [NODE], "a label that changed there is a change"
    assert _said(here, there) == {first: "success", second: "aborted"}, "what was said here stands"

    entries = len(own.entries())
    shutil.rmtree(here.artifacts)
    here.artifacts.mkdir()
    _take(here, there.root)
    assert len(own.entries()) == entries, "nothing is said twice"


def test_an_outcome_imported_here_stands(here: Workspace, there: EpisodeStore) -> None:
    episode, own = there.ids()[0], LabelBook(here.root / "labels")
    own.record(Annotation(episode_id=episode, outcome=Outcome.SUCCESS), by="outcomes.csv", origin="imported")
    said = Annotation(episode_id=episode, outcome=Outcome.FAILURE)
    LabelBook(there.root.parent / "labels").record(said, by="ada")
    _take(here, there.root)
    assert own.annotations("imported")[episode].outcome is Outcome.SUCCESS
