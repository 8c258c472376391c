"""The index is a cache: whatever happens to it, rows() says what the files say."""

import pytest
from tests.support.synthetic import synthetic_draft

from data.episodes import EpisodeStore
from data.index import COMPACT_ABOVE
from recap.errors import EpisodeCorrupt
from recap.types import Source


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore(tmp_path)
    for seed in range(5):
        store.commit(synthetic_draft(seed, length=5 + seed, source=Source.DEMO if seed % 2 else Source.ROLLOUT))
    return store


def _parts(store):
    return sorted((store.root / "index").glob("*.parquet"))


def test_rows_say_what_was_committed(store):
    rows = store.rows()
    assert [row.id for row in rows] == list(store.ids())
    assert sorted(row.length for row in rows) == [5, 6, 7, 8, 9]
    row = next(row for row in rows if row.start_seed == 2)
    assert (row.source, row.policy_id, row.state_dim, row.action_dim) == (Source.ROLLOUT, "synthetic-policy", 14, 14)
    assert row.image_sizes == ((16, 16),) * 3
    assert row.bytes == store.path(row.id).stat().st_size
    assert store.info(row.id) == row
    assert store.rows([row.id]) == [row]


def test_lost_index_is_made_again(store):
    before = store.rows()
    for part in _parts(store):
        part.unlink()
    assert store.rows() == before
    assert len(_parts(store)) == 1
    assert store.rebuild_index() == 5
    assert store.rows() == before


def test_damaged_part_is_made_again_and_said(store, caplog):
    before = store.rows()
    _parts(store)[0].write_bytes(b"PAR1 torn")
    assert store.rows() == before
    assert "unreadable" in caplog.text
    assert store.rows() == before


def test_a_row_of_a_vanished_file_is_not_listed(store):
    gone = store.ids()[0]
    store.path(gone).unlink()
    assert gone not in [row.id for row in store.rows()]


def test_rows_that_disagree_are_settled_by_the_file(store):
    from dataclasses import replace

    before = store.rows()
    store.index.append([replace(before[0], sha256="0" * 64, length=999)])
    assert store.rows() == before
    assert len(_parts(store)) == 1
    assert store.rows() == before


def test_a_file_that_changed_size_is_not_believed(store):
    path = store.path(store.ids()[0])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EpisodeCorrupt, match=path.stem):
        store.rows()
    assert len(store.rows(store.ids()[1:])) == 4


def test_many_parts_are_merged(tmp_path):
    store = EpisodeStore(tmp_path)
    for seed in range(COMPACT_ABOVE + 1):
        store.commit(synthetic_draft(seed, length=1, height=2, width=2, cameras=("c",)))
    before = store.rows()
    assert len(_parts(store)) == 1
    assert store.rows() == before
    assert len(before) == COMPACT_ABOVE + 1
