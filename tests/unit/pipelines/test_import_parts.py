"""A part of a dataset is enough: what was asked for is whole, so it comes in; what is not is named, with a remedy."""

import json
import shlex
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.synthetic_lerobot import synthetic_dataset

from cli.main import app
from recap.errors import ConfigError

EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def typed(hint, tmp_path):
    """Runs the command that an error printed, as typed into a shell; returns its JSON."""
    from typer.testing import CliRunner

    words = shlex.split(hint.partition("   (")[0])
    assert words[0] == "recap"
    done = CliRunner().invoke(app, [*words[1:], "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def _meta(root, change):
    rows = [changed for row in pq.read_table(root / EPISODES).to_pylist() if (changed := change(row)) is not None]
    pq.write_table(pa.Table.from_pylist(rows), root / EPISODES)


def test_films_of_another_camera_may_be_missing(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d", cameras=("front", "wrist"))
    shutil.rmtree(root / "videos/observation.images.wrist")
    with pytest.raises(
        ConfigError, match=r"3 of 3 episodes are broken, nothing was imported:\n.*wrist.* is missing"
    ) as no:
        take(root)
    assert "--camera front=observation.images.front" in no.value.hint
    assert typed(no.value.hint, tmp_path)["imported"] == 3


def test_a_camera_without_a_place_in_meta_may_be_left_out(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d", cameras=("front", "wrist"))
    _meta(root, lambda row: {k: None if k.startswith("videos/observation.images.wrist") else v for k, v in row.items()})
    with pytest.raises(ConfigError, match=r"videos/observation.images.wrist/chunk_index is None") as refused:
        take(root)
    assert typed(refused.value.hint, tmp_path)["imported"] == 3


@pytest.mark.parametrize("lost", ["data/chunk-000/episode_000001.parquet", "videos/chunk-000/{}/episode_000001.mp4"])
def test_files_of_episodes_that_were_not_asked_for_may_be_missing(tmp_path, take, lost):
    root = synthetic_dataset(tmp_path / "d", version="v2.1")
    (root / lost.format("observation.images.front")).unlink()
    assert sorted(take(root, episodes="0,2").ids) == [0, 2]
    with pytest.raises(ConfigError, match="1 of 3 episodes is broken, nothing was imported") as refused:
        take(root)
    found = typed(refused.value.hint, tmp_path)
    assert (found["known"], found["imported"], list(found["left_out"])) == (2, 0, ["1"])


@pytest.mark.parametrize("totals_mended", [True, False])
def test_numbers_may_have_gaps(tmp_path, take, totals_mended):
    root = synthetic_dataset(tmp_path / "d")
    _meta(root, lambda row: None if row["episode_index"] == 1 else row)
    if totals_mended:
        info = json.loads((root / "meta/info.json").read_text())
        (root / "meta/info.json").write_text(json.dumps({**info, "total_episodes": 2, "total_frames": 11}))
        assert sorted(take(root).ids) == [0, 2]
    else:
        with pytest.raises(ConfigError, match="total_episodes is 3, its episodes give 2") as refused:
            take(root)
        assert typed(refused.value.hint, tmp_path)["imported"] == 2
    assert sorted(take(root, episodes="0-2").ids) == [0, 2]
    with pytest.raises(ConfigError, match=r"--episodes '1': '1', expected numbers like 3,7-9 among 0,2"):
        take(root, episodes="1")


def test_rows_of_meta_in_another_order_than_their_numbers_are_refused(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d")
    rows = pq.read_table(root / EPISODES).to_pylist()
    pq.write_table(pa.Table.from_pylist([rows[1], rows[0], rows[2]]), root / EPISODES)
    with pytest.raises(ConfigError, match="episode 1 stands in row 0, expected 0 there"):
        take(root)


def test_numbers_and_spans_are_taken_as_written(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d", lengths=(2,) * 10)
    assert sorted(take(root, episodes="3,7-9").ids) == [3, 7, 8, 9]


@pytest.mark.parametrize("late", [True, False])
def test_leaving_out_everything_is_an_error_and_describes_nothing(tmp_path, take, late):
    root = synthetic_dataset(tmp_path / "d", version="v2.1")
    for path in root.glob("videos/*/*/*" if late else "data/*/*"):
        path.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="3 of 3 episodes are broken, nothing was imported") as refused:
        take(root, skip_broken=True)
    assert "--skip-broken" in refused.value.hint, "the same again, once it is mended"
    assert not list((tmp_path / "w").glob("tasks/*"))


@pytest.mark.parametrize("pattern", ["data/*/*", "videos/*/*/*", "meta/episodes.jsonl", "meta/info.json"])
def test_a_git_lfs_pointer_is_named_as_one(tmp_path, take, pattern):
    root = synthetic_dataset(tmp_path / "d", version="v2.1")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    for path in root.glob(pattern):
        path.write_text(pointer)
    with pytest.raises(ConfigError, match="is a git-lfs pointer, not the content: run 'git lfs pull'"):
        take(root)


def test_jitter_beyond_the_tolerance_names_the_one_that_would_do(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d")
    for path in root.glob("data/*/*"):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row["timestamp"] += 0.02 * (row["frame_index"] % 3 == 1)
        pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(ConfigError, match="is off the rate of 10 Hz") as refused:
        take(root)
    assert typed(refused.value.hint, tmp_path)["imported"] == 3
