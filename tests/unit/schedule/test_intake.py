"""What a night takes from a watched folder: all that is new, once; the rest by name."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from tests.support.synthetic import synthetic_draft, synthetic_truth
from tests.support.synthetic_lerobot import synthetic_dataset

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from pipelines.schedule.intake import Found, take_in
from pipelines.schedule.request import NightRequest
from recap.errors import ConfigError
from recap.types import Annotation, Outcome, Source

TASK = "cubes"


@pytest.fixture(autouse=True)
def no_other_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_TASKS", "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace that knows the task: its demonstrations were imported by hand."""
    demos = synthetic_dataset(tmp_path / "demos")
    import_dataset(tmp_path / "w", ImportRequest(dataset=demos, task=TASK, robot="arm"), lambda _: None)
    return tmp_path


def night(root: Path, *imports: str, task: str = TASK, settle_s: float = 0.0) -> dict[str, Found]:
    """{name of the source: what became of it}"""
    asked = NightRequest.of(watch=[root / "watch"], imports=["robot=arm", *imports] if task == TASK else list(imports))
    found = take_in(
        [Path(folder) for folder in asked.watch],
        root / "intake",
        asked.template(task, "r"),
        settle_s=settle_s,
        say=lambda _: None,
        clock=lambda: time.time() + 0.001,
    )
    return {str(Path(one.path).relative_to(root / "watch")): one for one in found}


def ids(root: Path) -> tuple[str, ...]:
    return EpisodeStore(root / "intake" / "episodes").ids()


def record(folder: Path, seeds: range, source: Source = Source.ROLLOUT, task: str = "shirt_folding") -> list[str]:
    store = EpisodeStore(folder)
    drafts = [synthetic_draft(seed, source=source, task=task) for seed in seeds]
    return [store.commit(draft, synthetic_truth(draft)) for draft in drafts]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_dataset_is_taken_once_wherever_it_lies(root: Path, version: str) -> None:
    (root / "watch" / "lab" / "arm").mkdir(parents=True)
    day = synthetic_dataset(root / "watch" / "lab" / "arm" / "day1", version=version, seed=1)
    first = night(root)["lab/arm/day1"]
    assert (first.kind, first.state, first.new, first.known) == ("LeRobotDataset", "taken", 3, 0)
    again = night(root)["lab/arm/day1"]
    assert (again.state, again.new, again.known) == ("unchanged", 0, 3)
    shutil.copytree(day, root / "watch" / "copy")
    both = night(root)
    assert (both["copy"].state, both["copy"].new, both["copy"].known) == ("taken", 0, 3)
    assert len(ids(root)) == 3
    header = EpisodeStore(root / "intake" / "episodes").header(ids(root)[0])
    assert header.facts["source"] == "rollout"
    assert header.facts["policy_id"] == "champion-of-r"


def test_a_dataset_that_has_grown_gives_what_it_has_grown_by(root: Path) -> None:
    (root / "watch").mkdir()
    synthetic_dataset(root / "watch" / "day", seed=1, lengths=(6, 4))
    assert night(root)["day"].new == 2
    shutil.rmtree(root / "watch" / "day")
    synthetic_dataset(root / "watch" / "day", seed=1, lengths=(6, 4, 5, 7))
    grown = night(root)["day"]
    assert (grown.state, grown.new, grown.known) == ("taken", 2, 2)
    assert len(ids(root)) == 4


def test_what_is_being_written_is_left_for_the_next_night(root: Path) -> None:
    (root / "watch").mkdir()
    synthetic_dataset(root / "watch" / "day", seed=1)
    young = night(root, settle_s=60)["day"]
    assert (young.state, young.new) == ("being written", 0)
    assert "changed" in young.in_words
    assert ids(root) == ()
    assert night(root)["day"].new == 3


def test_what_is_broken_is_named_and_stops_nothing(root: Path) -> None:
    (root / "watch").mkdir()
    synthetic_dataset(root / "watch" / "a-torn", seed=1)
    (next((root / "watch" / "a-torn" / "meta" / "episodes").rglob("*.parquet"))).write_bytes(b"PAR1")
    synthetic_dataset(root / "watch" / "b-film", seed=2)
    films = sorted((root / "watch" / "b-film" / "videos").rglob("*.mp4"))
    films[-1].write_bytes(b"no film")
    (root / "watch" / "c-notes.txt").write_text("what else lies there")
    (root / "watch" / ".rsync").mkdir()
    (root / "watch" / "d-empty" / "meta").mkdir(parents=True)
    synthetic_dataset(root / "watch" / "e-good", seed=3)
    found = night(root)
    assert {name: one.state for name, one in found.items()} == {
        "a-torn": "refused",
        "b-film": "taken",
        "c-notes.txt": "refused",
        "d-empty": "refused",
        "e-good": "taken",
    }
    assert all(one.why for one in found.values() if one.state == "refused")
    assert (found["b-film"].new, list(found["b-film"].left_out.values())) == (2, [["2"]])
    assert found["e-good"].new == 3
    assert night(root)["b-film"].left_out == found["b-film"].left_out, "it is said every night until it is seen to"


def test_episode_stores_are_taken_with_what_was_said_of_them(root: Path) -> None:
    store = root / "watch" / "w2" / "episodes"
    rollouts = [*record(store, range(100, 103)), *record(store, range(103, 104), Source.CORRECTION)]
    demos = record(store, range(2), Source.DEMO)
    others = record(store, range(110, 111), task="box_assembly")
    (torn,) = record(store, range(120, 121))
    path = EpisodeStore(store).path(torn)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-200])
    LabelBook(store.parent / "labels").record(Annotation(episode_id=rollouts[0], outcome=Outcome.FAILURE), by="ann")
    found = night(root, task="shirt_folding")["w2"]
    assert (found.kind, found.state, found.new, found.known) == ("episodes", "taken", 4, 0)
    assert sorted(map(sorted, found.left_out.values())) == sorted([sorted(demos), others, [torn]])
    assert set(ids(root)) == set(rollouts)
    assert LabelBook(root / "intake" / "labels").annotations()[rollouts[0]].outcome is Outcome.FAILURE

    LabelBook(store.parent / "labels").record(Annotation(episode_id=rollouts[0], outcome=Outcome.SUCCESS), by="ann")
    again = night(root, task="shirt_folding", settle_s=60)["w2"]
    assert (again.new, again.known) == (0, 4)
    assert [torn] in again.left_out.values()
    assert any("being written" in reason for reason in again.left_out), "a young file may be half a copy"
    assert LabelBook(root / "intake" / "labels").annotations()[rollouts[0]].outcome is Outcome.SUCCESS


def test_a_folder_that_is_not_there_is_an_error_and_an_empty_one_is_not(root: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        night(root)
    (root / "watch").mkdir()
    assert night(root) == {}


def test_how_datasets_are_read_is_said_as_for_an_import(root: Path) -> None:
    asked = NightRequest.of(
        watch=[root], imports=["camera=cam=observation.images.front", "image-size=8", "outcomes=o.csv", "policy=p"]
    )
    template = asked.template(TASK, "r")
    assert template.cameras == ("cam=observation.images.front",)
    assert (template.image_size, template.outcomes, template.policy) == ("8", Path("o.csv"), "p")
    (root / "watch").mkdir()
    synthetic_dataset(root / "watch" / "day", seed=1)
    (root / "watch" / "day" / "o.csv").write_text("episode_index,outcome\n0,success\n1,failure\n")
    assert night(root, "outcomes=o.csv")["day"].new == 3
    assert len(LabelBook(root / "intake" / "labels").annotations()) == 2
