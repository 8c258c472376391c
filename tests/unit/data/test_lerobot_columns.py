"""Columns as other recorders describe them: names, axes, depth, cameras."""

import json

import numpy as np
import pytest
from tests.support.synthetic_lerobot import synthetic_dataset

from data.lerobot_io.features import read_features
from data.lerobot_io.folder import open_folder
from data.lerobot_io.mapping import DatasetMapping, cameras_of, names_of
from data.lerobot_io.reading import DatasetReader
from recap.errors import ConfigError
from recap.types import Source

AB = ["a", "b"]


def _feature(**described):
    return read_features("info.json", {"x": {"dtype": "float32", "shape": [2], "names": None, **described}})["x"]


@pytest.mark.parametrize(
    ("names", "shape", "wanted"),
    [
        (AB, [2], ("a", "b")),
        ({"motors": AB}, [2], ("a", "b")),
        ({"left": AB, "right": AB}, [4], ("left.a", "left.b", "right.a", "right.b")),
        ({"arms": {"left": AB, "right": AB}}, [4], ("arms.left.a", "arms.left.b", "arms.right.a", "arms.right.b")),
        ([["a", "b"], ["c", "d"]], [4], ("a", "b", "c", "d")),
        ([["a", "b"], ["a", "b"]], [2, 2], ("0.a", "0.b", "1.a", "1.b")),
        ({"b": 1, "a": 0}, [2], ("a", "b")),
        (None, [2], ()),
        ([], [2], ()),
    ],
)
def test_names_are_read_in_every_usual_shape(names, shape, wanted):
    found = _feature(names=names, shape=shape)
    assert (found.names, found.misnamed) == (wanted, False)


@pytest.mark.parametrize("names", [["state"], ["a", "a"], {"axes": ["a", "b", "c"]}, "state"])
def test_names_that_do_not_fit_are_said_and_not_used(names):
    found = _feature(names=names)
    assert (found.names, found.misnamed) == ((), True)


@pytest.mark.parametrize(
    ("described", "depth"),
    [
        ({"info": {"is_depth_map": True}}, True),
        ({"info": {"video.is_depth_map": True}}, True),
        ({"video_info": {"video.is_depth_map": True}}, True),
        ({"info": None, "video_info": {"video.is_depth_map": True}}, True),
        ({"info": {"is_depth_map": False}, "video_info": {"video.is_depth_map": False}}, False),
        ({}, False),
    ],
)
def test_depth_is_known_by_every_spelling_that_lerobot_reads(described, depth):
    assert _feature(dtype="video", shape=[4, 4, 3], **described).depth is depth


def _with(root, **features):
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    for name, described in features.items():
        info["features"][name] = {**info["features"].get(name, {}), **described}
    path.write_text(json.dumps(info))
    return open_folder(root)


def _names(root, *columns, **features):
    return names_of(_with(root, **features), columns)


def test_columns_side_by_side_are_told_apart_by_their_own_names(tmp_path):
    root = synthetic_dataset(tmp_path, dims=(2, 2))
    same = {"dtype": "float32", "shape": [2], "names": AB}
    assert _names(root, "left.q", "right.q", **{"left.q": same, "right.q": same}) == (
        "left.q.a",
        "left.q.b",
        "right.q.a",
        "right.q.b",
    )
    assert _names(root, "obs.arm", "obs.hand", **{"obs.arm": same, "obs.hand": same})[:2] == ("arm.a", "arm.b")
    other = {**same, "names": ["c", "d"]}
    assert _names(root, "obs.arm", "obs.hand", **{"obs.hand": other}) == ("a", "b", "c", "d")
    assert _names(root, "obs.arm", **{"obs.arm": {**same, "names": None}}) == ("arm_0", "arm_1")


def test_cameras_of_one_name_in_two_places_are_both_taken(tmp_path):
    root = synthetic_dataset(tmp_path)
    picture = {"dtype": "image", "shape": [4, 4, 3], "names": None}
    folder = _with(root, **{"left.rgb": picture, "right.rgb": picture})
    assert cameras_of(folder) == {
        "images.front": "observation.images.front",
        "left.rgb": "left.rgb",
        "right.rgb": "right.rgb",
    }


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_vector_of_several_axes_is_read_row_by_row(tmp_path, version):
    lengths = (6, 4, 5)
    cells = [[[[t, 10 * e], [20, 30], [t, 50]] for t in range(n)] for e, n in enumerate(lengths)]
    root = synthetic_dataset(tmp_path, version=version)
    _write(root, "pose", cells)
    folder = _with(root, pose={"dtype": "float32", "shape": [3, 2], "names": None})
    mapping = DatasetMapping(
        task="t", robot="r", source=Source.DEMO, policy_id=None, cameras=cameras_of(folder), state=("pose",)
    )
    reader = DatasetReader(folder, mapping)
    for entry in folder.episodes:
        wanted = np.array(cells[entry.index], np.float32).reshape(entry.length, 6)
        np.testing.assert_array_equal(reader.draft(entry).state, wanted)
    assert names_of(folder, ("pose",)) == tuple(f"pose_{i}" for i in range(6))
    cells[1][2] = [[1, 2], [3, 4]]
    _write(root, "pose", cells)
    with pytest.raises(ConfigError, match="episode 1, pose: 2 numbers at frame 2, expected 3"):
        DatasetReader(folder, mapping).check(folder.episodes[1])


def _write(root, name, cells):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in sorted(root.glob("data/*/*.parquet")):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row[name] = cells[row["episode_index"]][row["frame_index"]]
        pq.write_table(pa.Table.from_pylist(rows), path)
