"""Which picture belongs to a row follows from the times: row time, place in the film, the film's own times."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.synthetic_lerobot import synthetic_dataset, synthetic_film, synthetic_numbers

from data.lerobot_io.files import OffTime
from data.lerobot_io.folder import open_folder
from data.lerobot_io.mapping import DatasetMapping, cameras_of
from data.lerobot_io.reading import DatasetReader
from recap.errors import ConfigError
from recap.types import Source

SIZE, FPS = (32, 48), 10
VERSIONS = pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])


def _reader(root, **changed):
    folder = open_folder(root)
    usual = {"task": "cubes", "robot": "arm", "source": Source.DEMO, "policy_id": None, "cameras": cameras_of(folder)}
    return DatasetReader(folder, DatasetMapping(**{**usual, **changed}))


def _rows(root, change):
    """Rewrites every table by `change`, from rows to rows."""
    for path in sorted(root.glob("data/*/*.parquet")):
        pq.write_table(pa.Table.from_pylist(change(pq.read_table(path).to_pylist())), path)


def _times(root, change):
    _rows(root, lambda rows: [{**row, "timestamp": change(row)} for row in rows])


def _meta(root: Path, change) -> None:
    """Rewrites what meta says of every episode, and the totals."""
    parquet = root / "meta/episodes/chunk-000/file-000.parquet"
    if parquet.is_file():
        rows = [change(row) for row in pq.read_table(parquet).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows), parquet)
    else:
        path = root / "meta/episodes.jsonl"
        rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("\n".join(map(json.dumps, rows)))
    info = json.loads((root / "meta/info.json").read_text())
    info |= {"total_episodes": len(rows), "total_frames": sum(row["length"] for row in rows)}
    (root / "meta/info.json").write_text(json.dumps(info))


def _cut_front(root, count):
    _rows(root, lambda rows: [row for row in rows if row["frame_index"] >= count])
    _meta(root, lambda row: {**row, "length": row["length"] - count})


@VERSIONS
@pytest.mark.parametrize("numbered_anew", [True, False])
def test_an_episode_cut_at_its_front_keeps_its_pictures(tmp_path, version, numbered_anew):
    root = synthetic_dataset(tmp_path, version=version)
    _cut_front(root, 2)
    if numbered_anew:
        _rows(root, lambda rows: [{**row, "frame_index": row["frame_index"] - 2} for row in rows])
    reader = _reader(root)
    for entry, length in zip(reader.folder.episodes, (6, 4, 5), strict=True):
        reader.check(entry)
        draft = reader.draft(entry)
        np.testing.assert_array_equal(draft.frames["front"], synthetic_film(entry.index, length, SIZE)[2:])
        np.testing.assert_array_equal(draft.state, synthetic_numbers(entry.index, length, (3, 2))[0][2:])


@VERSIONS
def test_whole_seconds_may_be_integers(tmp_path, version):
    root = synthetic_dataset(tmp_path, version=version, fps=1)
    _times(root, lambda row: int(row["timestamp"]))
    if version == "v3.0":
        place = "videos/observation.images.front"
        _meta(root, lambda row: {**row, **{k: int(v) for k, v in row.items() if k.startswith(place)}})
    reader = _reader(root)
    for entry, length in zip(reader.folder.episodes, (6, 4, 5), strict=True):
        np.testing.assert_array_equal(reader.draft(entry).frames["front"], synthetic_film(entry.index, length, SIZE))


@VERSIONS
def test_rows_between_two_pictures_are_refused(tmp_path, version):
    root = synthetic_dataset(tmp_path, version=version)
    _times(root, lambda row: row["timestamp"] + 0.03)
    reader = _reader(root)
    with pytest.raises(OffTime, match=r"row 0 stands for 0\.0300 s of .* nearest picture lies at 0\.0000 s"):
        reader.draft(reader.folder.episodes[0])


@VERSIONS
def test_jittering_rows_are_refused_unless_nominal_times_are_asked_for(tmp_path, version):
    root = synthetic_dataset(tmp_path, version=version)
    _times(root, lambda row: row["timestamp"] + 0.004 * (row["frame_index"] % 2))
    with pytest.raises(OffTime, match=r"row 1 stands for 0\.1040 s"):
        _reader(root).draft(_reader(root).folder.episodes[0])
    with pytest.raises(
        OffTime, match=r"frame 1 at 0.1040 s is off the rate of 10 Hz, expected 0.1000 s within 0.003 s"
    ):
        _reader(root, nominal_times_s=0.003).draft(_reader(root).folder.episodes[0])
    reader = _reader(root, nominal_times_s=0.005)
    for entry, length in zip(reader.folder.episodes, (6, 4, 5), strict=True):
        assert reader.jitter_s(entry) == pytest.approx(0.004, abs=1e-6)
        np.testing.assert_array_equal(reader.draft(entry).frames["front"], synthetic_film(entry.index, length, SIZE))


def test_rows_that_lead_into_the_next_episode_are_of_another_film(tmp_path):
    # The film was cut with the rows, whose times were kept: every picture would be two steps late.
    root = synthetic_dataset(tmp_path, lengths=(4, 4, 4))
    _times(root, lambda row: row["timestamp"] + 0.2)
    reader = _reader(root)
    with pytest.raises(ConfigError, match=r"stand for 0\.2000 to 0\.5000 s of .*, where episode 1 begins at 0\.4000 s"):
        reader.check(reader.folder.episodes[0])


def test_the_fingerprint_follows_the_times(tmp_path):
    root = synthetic_dataset(tmp_path)
    usual = [_reader(root).fingerprint(entry) for entry in _reader(root).folder.episodes]
    _times(root, lambda row: row["timestamp"] + 0.001)
    for changed in ({}, {"nominal_times_s": 0.002}):
        reader = _reader(root, **changed)
        assert not set(usual) & {reader.fingerprint(entry) for entry in reader.folder.episodes}


def test_half_a_period_is_too_much_for_nominal_times(tmp_path):
    root = synthetic_dataset(tmp_path)
    with pytest.raises(ConfigError, match=r"--nominal-times 0.05: expected seconds above 0 and below 0.05"):
        _reader(root, nominal_times_s=0.05)
