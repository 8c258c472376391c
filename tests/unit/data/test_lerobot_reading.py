"""Whole LeRobotDataset folders, versions 2.1 and 3.0: what is read is what was recorded, bit for bit."""

import numpy as np
import pytest
from tests.support.synthetic_lerobot import PROMPT, synthetic_dataset, synthetic_film, synthetic_numbers

from data.lerobot_io.folder import open_folder
from data.lerobot_io.mapping import DatasetMapping, cameras_of
from data.lerobot_io.reading import DatasetReader
from data.outcomes import outcome_of, outcome_of_frames
from data.resize import letterbox
from recap.errors import ConfigError
from recap.types import Outcome, Source

LENGTHS = (6, 4, 5)
BOTH = pytest.mark.parametrize("version", ["v2.1", "v3.0"])


def _mapping(folder, **changed):
    usual = {"task": "cubes", "robot": "arm", "source": Source.DEMO, "policy_id": None, "cameras": cameras_of(folder)}
    return DatasetMapping(**{**usual, **changed})


def _reader(root, **changed):
    folder = open_folder(root)
    return DatasetReader(folder, _mapping(folder, **changed))


@BOTH
@pytest.mark.parametrize("pictures", ["video", "image"])
def test_every_number_and_pixel_arrives(tmp_path, version, pictures):
    reader = _reader(synthetic_dataset(tmp_path, version=version, pictures=pictures, cameras=("front", "wrist")))
    assert reader.folder.version == version
    assert [entry.length for entry in reader.folder.episodes] == list(LENGTHS)
    for entry in reader.folder.episodes:
        draft = reader.draft(entry)
        state, action = synthetic_numbers(entry.index, entry.length, (3, 2))
        np.testing.assert_array_equal(draft.state, state)
        np.testing.assert_array_equal(draft.action, action)
        for camera in ("front", "wrist"):
            film = synthetic_film(entry.index, entry.length, (32, 48), camera)
            np.testing.assert_array_equal(draft.frames[camera], film)
        assert (draft.rate_hz, draft.start_seed, draft.renderer) == (10.0, None, None)
        assert draft.intervened.all()
        assert entry.instructions == (PROMPT,)
        assert f"episode {entry.index}" in draft.software["origin"]


def test_cameras_columns_and_size_are_taken_as_told(tmp_path):
    root = synthetic_dataset(tmp_path, cameras=("front", "wrist"), frame_columns={"grip": [[0.5] * n for n in LENGTHS]})
    reader = _reader(
        root,
        cameras={"cam_high": "observation.images.wrist"},
        state=("observation.state", "grip"),
        image_size=(20, 20),
    )
    draft = reader.draft(reader.folder.episodes[1])
    assert list(draft.frames) == ["cam_high"]
    film = synthetic_film(1, 4, (32, 48), "wrist")
    np.testing.assert_array_equal(draft.frames["cam_high"], letterbox(film, 20, 20))
    assert draft.state.shape == (4, 4)
    np.testing.assert_array_equal(draft.state[:, 3], np.full(4, 0.5, dtype=np.float32))


def test_a_human_who_stepped_in_makes_a_correction_and_nobody_a_rollout(tmp_path):
    marks = [[False] * 6, [False, True, True, False], [False] * 5]
    root = synthetic_dataset(tmp_path, frame_columns={"is_intervention": marks})
    reader = _reader(root, source=Source.CORRECTION, policy_id="p", intervention="is_intervention")
    drafts = [reader.draft(entry) for entry in reader.folder.episodes]
    assert [draft.source for draft in drafts] == [Source.ROLLOUT, Source.CORRECTION, Source.ROLLOUT]
    assert drafts[1].intervened.tolist() == marks[1]


@pytest.mark.parametrize(
    ("where", "columns"),
    [
        ("frame_columns", {"next.success": [[False] * 5 + [True], [False] * 4, [False] * 5]}),
        ("frame_columns", {"next.success": [["0"] * 5 + ["1"], ["FAILED"] * 4, ["", "", "", "", "Fail"]]}),
        ("episode_columns", {"next.success": ["success", "failure", "FAILURE"]}),
        ("episode_columns", {"next.success": [1.0, 0.0, 0.0]}),
    ],
)
@BOTH
def test_outcomes_come_from_a_column_of_frames_or_episodes(tmp_path, version, where, columns):
    reader = _reader(synthetic_dataset(tmp_path, version=version, **{where: columns}), outcome="next.success")
    found = [reader.outcome(entry) for entry in reader.folder.episodes]
    assert found == [Outcome.SUCCESS, Outcome.FAILURE, Outcome.FAILURE]


@pytest.mark.parametrize(
    ("values", "once", "end"),
    [
        ([False, True, False], Outcome.SUCCESS, Outcome.FAILURE),
        (["success", "", ""], Outcome.SUCCESS, None),
        (["failed", "", ""], Outcome.FAILURE, None),
        ([1.0, 0.0, "aborted"], Outcome.SUCCESS, Outcome.ABORTED),
    ],
)
def test_frames_that_say_one_thing_and_then_another_need_a_choice(values, once, end):
    with pytest.raises(ConfigError, match="expected a choice") as refused:
        outcome_of_frames(values, "", where="x")
    assert "--outcome-rule once" in refused.value.hint
    assert outcome_of_frames(values, "once", where="x") is once
    assert outcome_of_frames(values, "end", where="x") is end


def test_an_empty_cell_is_no_outcome_and_another_value_is_an_error():
    assert outcome_of(None, where="x") is None
    assert outcome_of("", where="x") is None
    assert outcome_of(" Aborted ", where="x") is Outcome.ABORTED
    for value in ("1", "TRUE", "Succeeded", "successful", 1, 1.0, True):
        assert outcome_of(value, where="x") is Outcome.SUCCESS
    for value in ("0", "false", "FAIL", "failed", " failure", 0, 0.0, False):
        assert outcome_of(value, where="x") is Outcome.FAILURE
    for value in (0.5, 2, "yes", [1], float("nan")):
        with pytest.raises(ConfigError, match=r"x: .* is no outcome"):
            outcome_of(value, where="x")


def test_the_fingerprint_follows_what_is_read_and_nothing_else(tmp_path):
    root = synthetic_dataset(tmp_path / "a", version="v2.1")
    other = synthetic_dataset(tmp_path / "b", version="v2.1", seed=1)

    def prints(folder, **changed):
        reader = _reader(folder, **changed)
        return [reader.fingerprint(entry) for entry in reader.folder.episodes]

    usual = prints(root)
    assert prints(root, outcome="") == usual
    assert len({*usual, *prints(other)}) == 6
    for changed in (
        {"image_size": (16, 16)},
        {"robot": "b"},
        {"task": "b"},
        {"source": Source.ROLLOUT, "policy_id": "p"},
    ):
        assert not set(prints(root, **changed)) & set(usual)
    video = root / "videos/chunk-000/observation.images.front/episode_000001.mp4"
    video.write_bytes(video.read_bytes() + b"\0")
    again = prints(root)
    assert [a == b for a, b in zip(again, usual, strict=True)] == [True, False, True]
