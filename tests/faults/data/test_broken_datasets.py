"""Datasets that are broken, contradict themselves or mean harm: refused by name, and nothing is written."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.faults import damage
from tests.support.synthetic_lerobot import synthetic_dataset, synthetic_film, write_video

from data.episodes import EpisodeStore
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from recap.errors import ConfigError, RecapError

VIDEO = "videos/chunk-000/observation.images.front/episode_000001.mp4"
TABLE = "data/chunk-000/episode_000001.parquet"
VIDEO_3 = "videos/observation.images.front/chunk-000/file-000.mp4"
TABLE_3 = "data/chunk-000/file-000.parquet"
EPISODES_3 = "meta/episodes/chunk-000/file-000.parquet"


def _info(**changed):
    def change(root: Path) -> None:
        info = json.loads((root / "meta/info.json").read_text())
        for name, value in changed.items():
            place, *rest = name.split("__")
            target = info
            for part in rest:
                target, place = target[place], part
            target[place.replace("_DOT_", ".")] = value
        (root / "meta/info.json").write_text(json.dumps(info))

    return change


def _feature(name: str, **changed):
    def change(root: Path) -> None:
        info = json.loads((root / "meta/info.json").read_text())
        info["features"].setdefault(name, {}).update(changed)
        (root / "meta/info.json").write_text(json.dumps(info))

    return change


def _column(file: str, name: str, change_values):
    """Changes the values of a column of a parquet file; None drops it."""

    def change(root: Path) -> None:
        table = pq.read_table(root / file)
        place = table.schema.get_field_index(name)
        table = table.remove_column(place)
        if change_values is not None:
            values = change_values(pq.read_table(root / file, columns=[name]).column(0).to_pylist())
            table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
        pq.write_table(table, root / file)

    return change


def _set(place: int, value):
    def change(values):
        values = list(values)
        values[place] = value
        return values

    return change


def _file(name: str, how: str):
    return lambda root: damage(root / name, how, at=40)


def _replace(name: str, old: bytes, new: bytes):
    def change(root: Path) -> None:
        content = (root / name).read_bytes()
        assert old in content
        (root / name).write_bytes(content.replace(old, new))

    return change


def _text(name: str, text: str):
    return lambda root: (root / name).write_text(text)


def _video(name: str, length: int, *, fps: float = 10, size: tuple[int, int] = (32, 48)):
    return lambda root: write_video(root / name, synthetic_film(1, length, size), fps)


def _pickled(values):
    return pa.array([pickle.dumps(value) for value in values], type=pa.binary())


BROKEN_21 = [
    ("no_meta", lambda root: (root / "meta/info.json").unlink(), "no LeRobotDataset there"),
    ("torn_info", _file("meta/info.json", "truncate"), "meta/info.json: not JSON"),
    ("info_is_a_list", _text("meta/info.json", "[]"), "a JSON list, expected an object"),
    ("unknown_version", _info(codebase_version="v4.0"), "codebase_version 'v4.0', expected one of v2.0, v2.1, v3.0"),
    ("fps_is_zero", _info(fps=0), "fps 0, expected a number > 0"),
    ("fps_is_text", _info(fps="30"), "fps '30', expected a number > 0"),
    ("fps_is_another", _info(fps=20), "episode 0, timestamp: frame 1 at 0.1000 s is off the rate of 20 Hz"),
    ("chunks_size", _info(chunks_size=0), "chunks_size 0"),
    ("features_missing", _info(features=None), "features is NoneType"),
    ("feature_shape", _feature("action", shape=[-2]), r"shape of feature 'action' is \[-2\]"),
    ("total_episodes", _info(total_episodes=4), "total_episodes is 4, its episodes give 3"),
    ("total_frames", _info(total_frames=99), "total_frames is 99, its episodes give 15"),
    ("path_up", _info(data_path="../{episode_index}.parquet"), "leads out of the dataset's folder"),
    ("path_absolute", _info(video_path="/etc/{episode_index}.mp4"), "leads out of the dataset's folder"),
    ("path_attribute", _info(data_path="{episode_index.__class__}.parquet"), "holds 'episode_index.__class__'"),
    ("path_width", _info(data_path="{episode_index:099999999d}.parquet"), "with '099999999d'"),
    ("path_braces", _info(data_path="data/{"), "is no path pattern"),
    ("path_missing", _info(data_path=3), "data_path is 3"),
    ("camera_up", _feature("../../etc", dtype="video", shape=[2, 2, 3]), "would lead out of its folder"),
    ("episodes_missing", lambda root: (root / "meta/episodes.jsonl").unlink(), "episodes.jsonl is missing"),
    ("episodes_torn", _text("meta/episodes.jsonl", '{"episode_index": 0,'), "episodes.jsonl, line 1: not JSON"),
    ("episode_index_text", _text("meta/episodes.jsonl", '{"episode_index": "../0"}'), "episode_index is '../0'"),
    (
        "episode_gap",
        _text("meta/episodes.jsonl", '{"episode_index": 7, "tasks": [], "length": 3}'),
        "total_episodes is 3, its episodes give 1",
    ),
    ("video_missing", lambda root: (root / VIDEO).unlink(), f"episode 1: {VIDEO}"),
    ("table_missing", lambda root: (root / TABLE).unlink(), f"episode 1: {TABLE}"),
    ("table_torn", _file(TABLE, "truncate"), "episode 1: .* is not readable as parquet"),
    ("table_empty", _file(TABLE, "empty"), "episode 1: .* is not readable as parquet"),
    ("column_missing", _column(TABLE, "action", None), "episode 1: .* has no column action"),
    (
        "rows_missing",
        lambda root: pq.write_table(pq.read_table(root / TABLE)[:3], root / TABLE),
        "episode 1: 3 rows in",
    ),
    ("another_episode", _column(TABLE, "episode_index", lambda v: [2] * len(v)), "episode 1: 0 rows in"),
    (
        "state_nan",
        _column(TABLE, "observation.state", _set(2, [0.0, float("nan"), 1.0])),
        "episode 1, observation.state: nan at frame 2, dimension 1",
    ),
    ("state_huge", _column(TABLE, "observation.state", _set(2, [0.0, 1e300, 1.0])), "1e.300 at frame 2, dimension 1"),
    (
        "state_short",
        _column(TABLE, "observation.state", _set(2, [0.0])),
        "episode 1, observation.state: 1 numbers at frame 2, expected 3",
    ),
    ("state_gap", _column(TABLE, "observation.state", _set(2, None)), "episode 1, observation.state: 1 empty cells"),
    (
        "state_cell_gap",
        _column(TABLE, "observation.state", _set(2, [0.0, None, 1.0])),
        "observation.state: 1 empty cells",
    ),
    (
        "state_text",
        _column(TABLE, "observation.state", lambda v: ["x"] * len(v)),
        "column of type string, expected 3 numbers",
    ),
    ("state_pickled", _column(TABLE, "observation.state", _pickled), "column of type binary, expected 3 numbers"),
    (
        "time_back",
        _column(TABLE, "timestamp", _set(2, 0.05)),
        "episode 1, timestamp: runs back from 0.1000 s to 0.0500 s at frame 2",
    ),
    (
        "time_off",
        _column(TABLE, "timestamp", _set(2, 0.25)),
        "episode 1, timestamp: frame 2 at 0.2500 s is off the rate",
    ),
    ("time_nan", _column(TABLE, "timestamp", _set(2, float("nan"))), "episode 1, timestamp: nan, expected seconds"),
    ("frame_twice", _column(TABLE, "frame_index", _set(2, 1)), "episode 1, frame_index: 1 in row 2, expected 2"),
]
LATE_21 = [
    ("video_torn", _file(VIDEO, "truncate"), "episode 1, observation.images.front"),
    ("video_empty", _file(VIDEO, "empty"), "episode 1, observation.images.front.* is not readable as a film"),
    ("video_is_text", _text(VIDEO, "#EXTM3U\nhttp://127.0.0.1:9/x.ts\n"), "is not readable as a film"),
    ("video_codec", _replace(VIDEO, b"avc1", b"xxxx"), "is of no known codec"),
    ("video_short", _video(VIDEO, 3), "row 3 stands for 0.3000 s of .*, whose nearest picture lies at 0.2000 s"),
    ("video_rate", _video(VIDEO, 4, fps=20), "row 2 stands for 0.2000 s of .*, whose nearest picture lies at 0.1500 s"),
    ("video_size", _video(VIDEO, 4, size=(16, 48)), r"the picture at 0.0000 s is \(16, 48\), expected \(32, 48\)"),
]
BROKEN_30 = [
    ("episodes_missing", lambda root: (root / EPISODES_3).unlink(), "meta/episodes: no parquet file there"),
    ("episodes_torn", _file(EPISODES_3, "truncate"), "meta/episodes/.* not readable as parquet"),
    ("chunk_negative", _column(EPISODES_3, "data/chunk_index", _set(1, -1)), "episode 1: data/chunk_index is -1"),
    ("length_missing", _column(EPISODES_3, "length", None), "episode 0: length is None"),
    (
        "length_wrong",
        _column(EPISODES_3, "length", _set(1, 3)),
        "total_frames is 15, its episodes give 14",
    ),
    ("tasks_missing", _column(EPISODES_3, "tasks", None), r"3 of 3 episodes were told nothing \(0-2\)"),
    (
        "span_nan",
        _column(EPISODES_3, "videos/observation.images.front/from_timestamp", _set(1, float("nan"))),
        "from nan to 1.0 in the film",
    ),
    (
        "file_elsewhere",
        _column(EPISODES_3, "data/file_index", _set(1, 9)),
        "episode 1: data/chunk-000/file-009.parquet",
    ),
    ("wrong_file", _column(EPISODES_3, "data/file_index", _set(1, 1)), "episode 1: 0 rows in"),
    ("video_missing", lambda root: (root / VIDEO_3).unlink(), f"episode 0: {VIDEO_3}"),
    ("table_torn", _file(TABLE_3, "truncate"), "episode 0: .* is not readable as parquet"),
    (
        "length_disagrees",
        lambda root: pq.write_table(pq.read_table(root / TABLE_3)[:9], root / TABLE_3),
        "episode 1: 3 rows in",
    ),
]
LATE_30 = [
    ("video_torn", _file(VIDEO_3, "truncate"), "episode 1, observation.images.front"),
    (
        "video_short",
        _video(VIDEO_3, 8),
        "episode 1, .*: row 2 stands for 0.8000 s of .* nearest picture lies at 0.7000 s",
    ),
]


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch):
    monkeypatch.setenv("RECAP_TASKS", "")


def _import(root, workspace, **changed):
    request = ImportRequest(**{"dataset": root, "task": "cubes", **changed})
    return import_dataset(workspace, request, lambda line: None)


def _cases(table):
    return [pytest.param(*case[1:], id=case[0]) for case in table]


@pytest.mark.parametrize(("spoil", "said"), _cases(BROKEN_21))
def test_a_broken_folder_of_version_21_is_refused_before_anything_is_written(tmp_path, spoil, said):
    root = synthetic_dataset(tmp_path / "d", version="v2.1")
    spoil(root)
    with pytest.raises(ConfigError, match=said):
        _import(root, tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(("spoil", "said"), _cases(BROKEN_30))
def test_a_broken_folder_of_version_30_is_refused_before_anything_is_written(tmp_path, spoil, said):
    root = synthetic_dataset(tmp_path / "d")
    spoil(root)
    with pytest.raises(ConfigError, match=said):
        _import(root, tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("version", "spoil", "said", "good"),
    [
        pytest.param(v, *case[1:], good, id=f"{v}-{case[0]}")
        for v, table, good in (("v2.1", LATE_21, 2), ("v3.0", LATE_30, 1))
        for case in table
    ],
)
def test_a_broken_video_is_named_and_the_other_episodes_come_in(tmp_path, version, spoil, said, good):
    root = synthetic_dataset(tmp_path / "d", version=version)
    spoil(root)
    with pytest.raises(ConfigError, match=said) as refused:
        _import(root, tmp_path / "w")
    assert "--skip-broken" in refused.value.hint
    store = EpisodeStore(tmp_path / "w" / "episodes")
    assert len(store.ids()) >= good
    result = _import(root, tmp_path / "w", skip_broken=True)
    assert 1 in result.left_out
    assert result.imported == 0, "what could come in came in at once"
    assert result.known == len(store.ids())


def test_skipping_leaves_out_what_is_broken_in_the_tables(tmp_path):
    root = synthetic_dataset(tmp_path / "d", version="v2.1")
    _column(TABLE, "observation.state", _set(0, [float("inf")] * 3))(root)
    result = _import(root, tmp_path / "w", skip_broken=True)
    assert (result.imported, list(result.left_out)) == (2, [1])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cameras": ("a=observation.images.frnt",)}, "did you mean 'observation.images.front'"),
        ({"cameras": ("front",)}, "--camera 'front', expected NAME=FEATURE"),
        ({"cameras": ("../x=observation.images.front",)}, "camera name '../x'"),
        ({"cameras": ("a=action",)}, "--camera a=action: of type float32, expected video or image"),
        ({"state": ("observation.stat",)}, "did you mean 'observation.state'"),
        ({"state": ("observation.images.front",)}, "of type video, expected numbers"),
        ({"action": ()}, "--action: no column"),
        ({"image_size": "0"}, "--image-size '0'"),
        ({"image_size": "224 x 224"}, "--image-size '224 x 224'"),
        ({"jpeg_quality": 0}, "JPEG quality 0"),
        ({"episodes": "0-9"}, "--episodes '0-9'"),
        ({"episodes": "x"}, "--episodes 'x'"),
        ({"source": "human"}, "--source 'human'"),
        ({"source": "rollout"}, "--source rollout without --policy"),
        ({"policy": "p"}, "with --source demo: no policy acted"),
        ({"source": "correction", "policy": "p"}, "without --intervention-column"),
        ({"intervention_column": "mark"}, "unknown column"),
        ({"outcome_column": "done"}, "--outcome-column done: no column of the frames nor of the episodes"),
        ({"told": ("sing",)}, "none of 3 episodes was told 'sing'"),
        ({"instruction": " "}, "--instruction ' ': expected words"),
        ({"outcome_rule": "once"}, "without an --outcome-column of the frames"),
        ({"nominal_times": 0.05}, r"--nominal-times 0.05: expected seconds above 0 and below 0.05"),
        ({"state": ("observation.state", "observation.state")}, "given 2 times"),
        ({"episodes": "7"}, r"--episodes '7': '7', expected numbers like 3,7-9 among 0-2"),
        ({"task": "../cubes"}, "task name '../cubes'"),
        ({"task": "shirt_folding"}, "does not fit task 'shirt_folding'"),
        ({"dataset": Path("nowhere")}, "nowhere does not exist"),
    ],
)
def test_what_the_dataset_cannot_give_is_refused_before_anything_is_written(tmp_path, asked, said):
    root = synthetic_dataset(tmp_path / "d")
    with pytest.raises(RecapError, match=said):
        _import(root, tmp_path / "w", **asked)
    assert not (tmp_path / "w").exists()


def test_pictures_in_the_table_that_are_none_are_named(tmp_path):
    root = synthetic_dataset(tmp_path / "d", version="v2.1", pictures="image")
    table = pq.read_table(root / TABLE)
    cells = table.column("observation.images.front").to_pylist()
    cells[2] = {"bytes": pickle.dumps(np.zeros(3)), "path": "../../x.png"}
    place = table.schema.get_field_index("observation.images.front")
    column = pa.array(cells, type=pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(table.set_column(place, "observation.images.front", column), root / TABLE)
    with pytest.raises(ConfigError, match=r"episode 1, observation.images.front: frame 2 is no PNG or JPEG picture"):
        _import(root, tmp_path / "w")
