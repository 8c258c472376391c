"""What `recap data export` writes, LeRobot opens in a fresh process without network, and every value agrees."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.support.faults import run_python
from tests.support.synthetic_lerobot import PROMPT, synthetic_dataset

from data.annotation import Annotations
from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.datasets.export import export_dataset
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from recap.errors import ConfigError, UnknownName
from recap.graph import Graph, NodeName
from recap.registry import Registry
from recap.runner import Runner
from recap.step import DirOutput, JsonOutput, StepSpec, step
from recap.types import Annotation, Outcome
from recap.workspace import Workspace

LENGTHS = (6, 4, 5)
MARKS = [[False] * 6, [False, True, True, False], [False] * 5]
RUN = "cubes-run"
pytestmark = pytest.mark.xdist_group("lerobot-exports")


@pytest.fixture(scope="module", autouse=True)
def _no_task_folders():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECAP_TASKS", "")
        yield


def _record_run(workspace, ids):
    """A run that has labelled the first two episodes: its steps are made up, its record and its store are not."""
    steps: Registry[StepSpec] = Registry("step")

    @step(name="record", version=1, outputs=("episodes",), registry=steps)
    def record(ctx, config, inputs):
        return {"episodes": JsonOutput(EpisodeSet.of(ids).to_json())}

    @step(name="annotate", version=1, outputs=("annotations",), registry=steps)
    def annotate(ctx, config, inputs):
        outcomes = (Outcome.SUCCESS, Outcome.FAILURE)
        by_id = {i: Annotation(episode_id=i, outcome=o) for i, o in zip(ids[:2], outcomes, strict=True)}
        return {"annotations": JsonOutput(Annotations(by_id=by_id, missing=tuple(ids[2:])).to_json())}

    @step(name="advantage", version=1, outputs=("labels",), registry=steps)
    def advantage(ctx, config, inputs):
        labels = _labels(workspace, ids)
        labels.write(ctx.out / "labels")
        return {"labels": DirOutput(ctx.out / "labels")}

    graph = Graph(steps=steps)
    for name in (NodeName(1, "record", "shirt_folding"), NodeName(1, "annotate"), NodeName(1, "advantage")):
        graph.add(name, name.stage, None)
    Runner(workspace, lambda: None).run(graph, RUN)


def _labels(workspace, ids):
    labelled = sorted(ids[:2])
    rows = {row.id: row.length for row in EpisodeStore(workspace.episodes).rows(labelled)}
    offsets = np.concatenate([[0], np.cumsum([rows[i] for i in labelled])])
    rng = np.random.default_rng(0)
    count = int(offsets[-1])
    return FrameTable(
        ids=tuple(labelled),
        offsets=offsets,
        arrays={
            **{name: rng.normal(size=count).astype(np.float32) for name in ("advantage", "returns", "value")},
            "positive": rng.random(count) < 0.5,
            "forced": np.zeros(count, dtype=np.bool_),
        },
        facts={"thresholds": {"cubes": 0.25}, "lookahead": 3, "model": "viva"},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One workspace, exported with a run's labels as pictures and without as video, and opened by LeRobot."""
    root = tmp_path_factory.mktemp("exports")
    dataset = synthetic_dataset(
        root / "d", cameras=("front", "wrist"), size=(64, 64), frame_columns={"is_intervention": MARKS}
    )
    request = ImportRequest(
        dataset=dataset,
        task="cubes",
        source="correction",
        policy="p",
        intervention_column="is_intervention",
        jpeg_quality=None,
    )
    result = import_dataset(root / "w", request, lambda line: None)
    ids = [result.ids[number] for number in range(3)]
    workspace = Workspace.open(root / "w")
    _record_run(workspace, ids)
    exports = {"pictures": {"run": RUN, "videos": False}, "videos": {}}
    opened = {}
    for name, asked in exports.items():
        export_dataset(root / "w", root / name, lambda line: None, **asked)
        out = root / f"{name}.npz"
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("open_with_lerobot.py")), str(root / name), str(out)],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "hf"), "OMP_NUM_THREADS": "1"},
            check=True,
            timeout=280,
        )
        opened[name] = dict(np.load(out, allow_pickle=False))
    return SimpleNamespace(root=root, workspace=workspace, ids=ids, store=EpisodeStore(workspace.episodes), **opened)


def _exported(made, name):
    """Episodes in the order of the dataset."""
    extra = json.loads((made.root / name / "meta" / "recap.json").read_text())
    return [made.store.load(row["id"]) for row in extra["episodes"]], extra


@pytest.mark.parametrize("name", ["pictures", "videos"])
def test_numbers_order_and_words_agree(made, name):
    found, (episodes, extra) = getattr(made, name), _exported(made, name)
    assert (int(found["__fps__"]), int(found["__episodes__"])) == (10, len(episodes))
    for field, column in (("state", "observation.state"), ("action", "action"), ("intervened", "recap.intervened")):
        wanted = np.concatenate([getattr(episode, field) for episode in episodes])
        np.testing.assert_array_equal(found[column].reshape(wanted.shape), wanted)
    assert set(found["task"]) == {PROMPT}
    lengths = [episode.length for episode in episodes]
    np.testing.assert_array_equal(found["episode_index"].ravel(), np.repeat(np.arange(len(episodes)), lengths))
    times = np.concatenate([np.arange(length) / 10 for length in lengths])
    np.testing.assert_allclose(found["timestamp"].ravel(), times, atol=1e-6)
    said = [row["outcome"] or "" for row in extra["episodes"]]
    assert found["recap.outcome"].tolist() == np.repeat(said, lengths).tolist()
    assert [row["source"] for row in extra["episodes"]] == [episode.source.value for episode in episodes]


def test_pictures_agree_bit_for_bit_and_videos_nearly(made):
    for camera in ("front", "wrist"):
        wanted = np.concatenate([episode.frames[camera] for episode in _exported(made, "pictures")[0]])
        pictures = made.pictures[f"observation.images.{camera}"].transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(np.rint(pictures * 255).astype(np.uint8), wanted)
        wanted = np.concatenate([episode.frames[camera] for episode in _exported(made, "videos")[0]])
        videos = made.videos[f"observation.images.{camera}"].transpose(0, 2, 3, 1)
        # No two frames are alike: a frame out of place would be some 80 off.
        assert np.abs(videos.astype(int) - wanted).mean(axis=(1, 2, 3)).max() < 25


def test_what_the_run_made_of_each_frame_is_there(made):
    episodes, extra = _exported(made, "pictures")
    labels = _labels(made.workspace, made.ids)
    assert sorted(episode.id for episode in episodes) == list(labels.ids), "without a label nothing is made up"
    for column, array in (
        ("return", "returns"),
        ("value", "value"),
        ("advantage", "advantage"),
        ("positive", "positive"),
    ):
        wanted = np.concatenate([labels.arrays[array][labels.rows_of(episode.id)] for episode in episodes])
        np.testing.assert_array_equal(made.pictures[f"recap.{column}"].ravel(), wanted)
    assert extra["labels"]["thresholds"] == {"cubes": 0.25}
    assert extra["run"] == RUN
    assert {row["outcome"] for row in extra["episodes"]} == {"success", "failure"}
    assert "recap.value" not in made.videos


def test_taken_in_again_it_is_the_same_experience(made, tmp_path):
    request = ImportRequest(
        dataset=made.root / "pictures",
        task="cubes",
        source="correction",
        policy="p",
        intervention_column="recap.intervened",
        outcome_column="recap.outcome",
        jpeg_quality=None,
    )
    result = import_dataset(tmp_path / "w", request, lambda line: None)
    assert sorted(result.ids.values()) == sorted(made.ids[:2])
    assert result.outcomes == {"failure": 1, "success": 1, "none": 0}


def test_what_cannot_be_exported_is_refused(made, tmp_path):
    for asked, error, said in (
        ({"run": "cubes-ran"}, UnknownName, "did you mean 'cubes-run'"),
        ({"task": "balls"}, ConfigError, "no episode of task 'balls'"),
    ):
        with pytest.raises(error, match=said):
            export_dataset(made.root / "w", tmp_path / "x", lambda line: None, **asked)
    with pytest.raises(ConfigError, match="exists"):
        export_dataset(made.root / "w", made.root / "videos", lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_leaves_nothing_behind(made, tmp_path, monkeypatch):
    from recap.faults import FaultInjected

    monkeypatch.setattr("recap.faults._seen", {})
    monkeypatch.setenv("RECAP_FAULT", "export.before_rename:1:raise")
    with pytest.raises(FaultInjected):
        export_dataset(made.root / "w", tmp_path / "x", lambda line: None, videos=False)
    assert list(tmp_path.iterdir()) == []


def test_lerobot_is_imported_by_the_writer_alone(tmp_path):
    dataset = synthetic_dataset(tmp_path / "d")
    code = f"""
import sys
from pathlib import Path
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
request = ImportRequest(dataset=Path({str(dataset)!r}), task="others")
import_dataset(Path({str(tmp_path / "w")!r}), request, print)
assert not {{"lerobot", "torch", "datasets"}} & sys.modules.keys(), "reading needs none of them"
"""
    assert run_python(code, timeout_s=120) == 0
