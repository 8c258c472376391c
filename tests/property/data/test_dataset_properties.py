"""LeRobotDataset folders of any shape: what is read is what was recorded; damage is an error of ours or none."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.synthetic_lerobot import synthetic_dataset, synthetic_film, synthetic_numbers

from data.episode_file import header_of
from data.image_codec import ImageCodec
from data.lerobot_io.folder import open_folder
from data.lerobot_io.mapping import DatasetMapping, cameras_of
from data.lerobot_io.reading import DatasetReader, outcome_of
from recap.errors import ConfigError, RecapError
from recap.types import Outcome, Source

SHAPES = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(1, 6), min_size=1, max_size=4),
        "fps": st.sampled_from([1, 10, 25, 30, 60]),
        "size": st.tuples(st.integers(4, 16), st.integers(4, 16)).map(lambda size: (2 * size[0], 2 * size[1])),
        "dims": st.tuples(st.integers(1, 9), st.integers(1, 9)),
        "cameras": st.sampled_from([("front",), ("wrist", "front")]),
        "pictures": st.sampled_from(["video", "image"]),
        "seed": st.integers(0, 100),
    }
)


def _reader(root: Path) -> DatasetReader:
    folder = open_folder(root)
    usual = {"task": "cubes", "robot": "arm", "source": Source.DEMO, "policy_id": None}
    return DatasetReader(folder, DatasetMapping(**usual, cameras=cameras_of(folder)))


@settings(max_examples=12)
@given(shape=SHAPES)
def test_both_versions_give_what_was_recorded_and_the_same_episodes(shape):
    ids = {}
    for version in ("v2.1", "v3.0"):
        with tempfile.TemporaryDirectory() as folder:
            reader = _reader(synthetic_dataset(Path(folder) / "d", version=version, **shape))
            drafts = [reader.draft(entry) for entry in reader.folder.episodes]
        ids[version] = [header_of(draft).id for draft in drafts]
        for e, (draft, length) in enumerate(zip(drafts, shape["lengths"], strict=True)):
            state, action = synthetic_numbers(e, length, shape["dims"], seed=shape["seed"])
            np.testing.assert_array_equal(draft.state, state)
            np.testing.assert_array_equal(draft.action, action)
            for camera in shape["cameras"]:
                film = synthetic_film(e, length, shape["size"], camera, seed=shape["seed"])
                np.testing.assert_array_equal(draft.frames[camera], film)
    assert ids["v2.1"] == ids["v3.0"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    return {version: synthetic_dataset(root / version, version=version) for version in ("v2.1", "v3.0")}


@settings(max_examples=60)
@given(data=st.data(), version=st.sampled_from(["v2.1", "v3.0"]))
def test_any_damage_to_the_meta_files_and_videos_is_an_error_of_ours_or_none(whole, data, version):
    root = whole[version]
    files = sorted(path for path in root.rglob("*") if path.suffix in (".json", ".jsonl", ".mp4"))
    path = data.draw(st.sampled_from(files))
    good = path.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    how = data.draw(st.sampled_from(["cut", "flip", "zero"]))
    flipped = good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :]
    bad = {"cut": good[:place], "flip": flipped, "zero": good[:place] + bytes(len(good) - place)}[how]
    path.write_bytes(bad)
    try:
        reader = _reader(root)
        for entry in reader.folder.episodes:
            reader.draft(entry)
    except RecapError:
        pass
    finally:
        path.write_bytes(good)


@given(
    value=st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=8), st.binary(max_size=4))
)
def test_an_outcome_is_one_of_three_or_nothing_or_an_error(value):
    try:
        found = outcome_of(value, where="x")
    except ConfigError:
        return
    assert found is None or isinstance(found, Outcome)
    if found is None:
        assert value in (None, "")
    elif not isinstance(value, str):
        assert found is (Outcome.SUCCESS if value == 1 else Outcome.FAILURE)


@settings(max_examples=15)
@given(
    quality=st.integers(1, 100),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 100),
)
def test_what_jpeg_gives_back_is_always_the_same(quality, shape, seed):
    codec = ImageCodec(quality=quality)
    frames = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    first, again = codec.through(frames), codec.through(frames)
    assert first.shape == frames.shape
    np.testing.assert_array_equal(first, again)
