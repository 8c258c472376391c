"""`recap data import` without its process: what is taken, what is said of it, and that nothing is taken twice."""

import json

import numpy as np
import pytest
from tests.support.synthetic_lerobot import PROMPT, synthetic_dataset, synthetic_film

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from data.lerobot_io.reading import DatasetReader
from data.tasks import TASKS
from data.verify import verify
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from recap.errors import ConfigError
from recap.types import Annotation, Outcome, Source
from recap.workspace import Workspace

LENGTHS = (6, 4, 5)


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch):
    monkeypatch.setenv("RECAP_TASKS", "")


@pytest.fixture
def dataset(tmp_path):
    return synthetic_dataset(tmp_path / "d")


@pytest.fixture
def take(tmp_path, dataset):
    def take(**asked):
        request = ImportRequest(**{"dataset": dataset, "task": "cubes", "jpeg_quality": None, **asked})
        return import_dataset(tmp_path / "w", request, lambda line: None)

    return take


@pytest.fixture
def store(tmp_path):
    return EpisodeStore(tmp_path / "w" / "episodes")


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the episodes whose pictures were decoded."""
    numbers = []
    draft = DatasetReader.draft

    def counting(self, entry, **given):
        numbers.append(entry.index)
        return draft(self, entry, **given)

    monkeypatch.setattr(DatasetReader, "draft", counting)
    return numbers


def _said(tmp_path):
    return {i: a.outcome.value for i, a in LabelBook(tmp_path / "w" / "labels").annotations().items()}


def test_the_episodes_of_a_dataset_are_ordinary_episodes(take, store):
    result = take()
    assert (result.imported, result.known, result.frames) == (3, 0, 15)
    assert sorted(result.ids.values()) == list(store.ids())
    for number, episode_id in result.ids.items():
        episode = store.load(episode_id)
        assert (episode.task, episode.robot, episode.source) == ("cubes", "made_up_arm", Source.DEMO)
        np.testing.assert_array_equal(episode.frames["front"], synthetic_film(number, LENGTHS[number], (32, 48)))
    assert list(verify(store)) == []


def test_a_task_nobody_knows_is_drafted_once_and_a_person_may_change_it(take, tmp_path):
    drafted = take().task_file
    assert drafted == str(tmp_path / "w" / "tasks" / "cubes.yaml")
    task = TASKS.get("cubes")
    assert (task.spec.prompt, task.spec.max_steps, task.spec.rate_hz) == (PROMPT, 6, 10.0)
    assert task.robot.state_names == ("joint_0", "joint_1", "joint_2")
    assert (task.robot.cameras[0].height, task.robot.cameras[0].width) == (32, 48)
    path = tmp_path / "w" / "tasks" / "cubes.yaml"
    path.write_text(path.read_text().replace("max_steps: 6", "max_steps: 5"))
    again = take()
    assert (again.task_file, again.too_long) == (None, [0])
    assert "max_steps: 5" in path.read_text()


def test_what_does_not_fit_the_known_task_is_refused(take, store):
    take()
    before = store.ids()
    for asked, said in (
        ({"robot": "another"}, "robot another, expected made_up_arm"),
        ({"image_size": "16"}, r"camera front \(16, 16\), expected \(32, 48\)"),
        ({"cameras": ("top=observation.images.front",)}, "camera front none, expected"),
        ({"state": ("action",)}, "state 2 numbers, expected 3 numbers"),
    ):
        with pytest.raises(ConfigError, match=said):
            take(**asked)
    assert store.ids() == before


def test_issued_again_it_decodes_nothing(take, decoded, store, dataset):
    first = take()
    assert decoded == [0, 1, 2]
    again = take()
    assert (again.imported, again.known, again.ids) == (0, 3, first.ids)
    assert decoded == [0, 1, 2]
    # An episode that is gone comes back, and only that one.
    store.path(first.ids[1]).unlink()
    assert (take().imported, decoded) == (1, [0, 1, 2, 1])
    # Kept otherwise it would be other episodes, each frame counted twice.
    with pytest.raises(ConfigError, match=r"is here already as .*, read otherwise: images 'jpeg90'") as refused:
        take(jpeg_quality=90)
    assert refused.value.hint.endswith("--jpeg-quality 90 --workspace ANOTHER_FOLDER")
    with pytest.raises(ConfigError, match="source 'rollout' \\(here: 'demo'\\)"):
        take(source="rollout", policy="p")
    assert len(store.ids()) == 3


def test_a_dataset_that_grew_gives_its_new_episodes(take, store, dataset):
    first = take(episodes="0-1")
    assert sorted(first.ids) == [0, 1]
    grown = take()
    assert (grown.imported, grown.known) == (1, 2)
    assert len(store.ids()) == 3


def test_nothing_is_said_of_an_episode_unless_the_dataset_says_it(take, tmp_path):
    assert take().outcomes == {"none": 3}
    assert _said(tmp_path) == {}


def test_outcomes_of_a_column_are_imported_labels_and_people_stand_above(tmp_path):
    marks = {"next.success": ["success", "failure", None]}
    dataset = synthetic_dataset(tmp_path / "d", episode_columns=marks)
    request = ImportRequest(dataset=dataset, task="cubes", outcome_column="next.success")
    result = import_dataset(tmp_path / "w", request, lambda line: None)
    assert result.outcomes == {"failure": 1, "success": 1, "none": 1}
    assert _said(tmp_path) == {result.ids[0]: "success", result.ids[1]: "failure"}
    book = LabelBook(tmp_path / "w" / "labels")
    book.record(Annotation(episode_id=result.ids[0], outcome=Outcome.ABORTED), by="ada")
    entries = len(book.entries())
    assert import_dataset(tmp_path / "w", request, lambda line: None).outcomes["aborted"] == 1
    assert len(book.entries()) == entries, "nothing is said twice"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_outcomes_of_a_file_go_by_the_number_in_the_dataset(take, tmp_path, form):
    rows = [{"episode_index": 0, "outcome": "success"}, {"episode_index": 2, "outcome": "failure", "note": "slow"}]
    path = tmp_path / f"outcomes.{form}"
    path.write_text(json.dumps(rows) if form == "json" else "episode_index,outcome,note\n0,success,\n2,failure,slow\n")
    result = take(outcomes=path)
    assert _said(tmp_path) == {result.ids[0]: "success", result.ids[2]: "failure"}
    path.write_text(json.dumps([{"episode_index": "10", "outcome": "success"}]))
    with pytest.raises(ConfigError, match=r"bad rows|not JSON|columns"):
        take(outcomes=path)


def test_an_index_is_no_prefix(take, tmp_path):
    path = tmp_path / "outcomes.csv"
    for index in ("3", "00x", "-1", "", "٣"):
        path.write_text(f"episode_index,outcome\n{index},success\n")
        with pytest.raises(ConfigError, match="is none of the 3 episodes"):
            take(outcomes=path)
    assert _said(tmp_path) == {}


def test_one_recording_with_two_outcomes_is_refused(tmp_path, monkeypatch):
    dataset = synthetic_dataset(tmp_path / "d", version="v2.1", lengths=(4, 4), episode_columns={"ok": [True, False]})
    for folder, suffix in (("data/chunk-000", "parquet"), ("videos/chunk-000/observation.images.front", "mp4")):
        first, second = (dataset / folder / f"episode_00000{e}.{suffix}" for e in (0, 1))
        second.write_bytes(first.read_bytes())
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = dataset / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("episode_index")
    pq.write_table(table.set_column(place, "episode_index", pa.array([1] * 4)), path)
    request = ImportRequest(dataset=dataset, task="cubes", outcome_column="ok")
    with pytest.raises(ConfigError, match=r"episodes \[0, 1\] are one recording with two outcomes"):
        import_dataset(tmp_path / "w", request, lambda line: None)


def test_one_writer_at_a_time(take, tmp_path):
    from recap.errors import WorkspaceLocked

    with Workspace.open(tmp_path / "w").lock("a run"), pytest.raises(WorkspaceLocked):
        take()


def test_a_folder_with_nothing_but_the_task_file_becomes_the_workspace(take, tmp_path):
    take()
    written = (tmp_path / "w/tasks/cubes.yaml").read_text()
    changed = written.replace("max_steps: 6", "max_steps: 9")
    assert changed != written
    (tmp_path / "new/tasks").mkdir(parents=True)
    (tmp_path / "new/tasks/cubes.yaml").write_text(changed)
    request = ImportRequest(dataset=tmp_path / "d", task="cubes", jpeg_quality=None)
    result = import_dataset(tmp_path / "new", request, lambda line: None)
    assert len(EpisodeStore(tmp_path / "new/episodes").ids()) == len(LENGTHS)
    assert result.task_file is None, "nothing was drafted"
    assert (tmp_path / "new/tasks/cubes.yaml").read_text() == changed
