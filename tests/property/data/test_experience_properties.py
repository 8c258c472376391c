"""Laws of the experience store that hold for any episode, any set and any seed."""

import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.synthetic import synthetic_draft

from data.batches import TrainingBatches
from data.episode_file import encode, header_of
from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.framecache import FrameCache
from data.index import row_of
from data.normalise import Stats, compute_stats
from data.verify import verify
from recap.errors import EpisodeCorrupt
from recap.types import EpisodeDraft, Source

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,12}", fullmatch=True)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def drafts(draw):
    """Any episode that satisfies the contract."""
    length, state_dim, action_dim = (draw(st.integers(1, high)) for high in (25, 5, 5))
    source = draw(st.sampled_from(Source))
    human = {
        Source.DEMO: np.ones(length, bool),
        Source.ROLLOUT: np.zeros(length, bool),
        Source.CORRECTION: np.arange(length) >= draw(st.integers(0, length - 1)),
    }
    shapes = st.tuples(st.just(length), st.integers(1, 6), st.integers(1, 6), st.just(3))
    return EpisodeDraft(
        task=draw(NAMES.filter(lambda name: name not in {"truth", "index", "quarantine"})),
        robot=draw(st.text(min_size=1, max_size=5)),
        source=source,
        policy_id=None if source is Source.DEMO else draw(st.text(min_size=1, max_size=5)),
        rate_hz=draw(st.floats(0.01, 1e4)),
        start_seed=draw(st.none() | st.integers(0, 2**62)),
        renderer=draw(st.none() | st.sampled_from(["egl", "osmesa", "ray"])),
        state=draw(hnp.arrays(np.float32, (length, state_dim), elements=FLOATS)),
        action=draw(hnp.arrays(np.float32, (length, action_dim), elements=FLOATS)),
        intervened=human[source],
        frames={
            camera: draw(hnp.arrays(np.uint8, draw(shapes), elements=st.integers(0, 255), fill=st.integers(0, 255)))
            for camera in draw(st.sets(NAMES, min_size=1, max_size=3))
        },
        software=draw(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)),
    )


@QUICK
@given(draft=drafts())
def test_any_episode_comes_back_and_verifies(draft):
    with tempfile.TemporaryDirectory() as folder:
        store = EpisodeStore(folder)
        episode = store.load(store.commit(draft))
        for name in ("task", "robot", "source", "policy_id", "rate_hz", "start_seed", "renderer", "software"):
            assert getattr(episode, name) == getattr(draft, name)
        for name in ("state", "action", "intervened"):
            assert getattr(episode, name).tobytes() == getattr(draft, name).tobytes()
        assert sorted(episode.frames) == sorted(draft.frames)
        for camera in draft.frames:
            np.testing.assert_array_equal(episode.frames[camera], draft.frames[camera])
        assert header_of(episode).id == episode.id
        assert list(verify(store)) == []


@QUICK
@given(batch=st.lists(drafts(), min_size=1, max_size=4))
def test_a_rebuilt_index_equals_the_one_appended(batch):
    with tempfile.TemporaryDirectory() as folder:
        store = EpisodeStore(folder)
        for draft in batch:
            store.commit(draft)
        before = store.rows()
        assert store.rebuild_index() == len({row.id for row in before}) == len(before)
        assert store.rows() == before


@given(ids=st.lists(st.integers(0, 2**64), max_size=20), data=st.data())
def test_a_set_is_its_members(ids, data):
    names = [f"{number:064x}" for number in ids]
    episodes = EpisodeSet.of(names)
    assert EpisodeSet.of(data.draw(st.permutations(names))).root == episodes.root
    assert EpisodeSet.from_json(episodes.to_json()) == episodes
    assert (EpisodeSet.of(names[:3]) | EpisodeSet.of(names[3:])) == episodes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = EpisodeStore(tmp_path_factory.mktemp("flip"))
    episode_id = store.commit(synthetic_draft(0, length=11, height=4, width=4, cameras=("a", "b")))
    return store, episode_id, store.path(episode_id).read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_single_flipped_bit_goes_unnoticed_or_changes_what_is_read(whole, data):
    store, episode_id, content = whole
    position = data.draw(st.integers(0, 8 * len(content) - 1))
    altered = bytearray(content)
    altered[position // 8] ^= 1 << (position % 8)
    path = store.path(episode_id)
    path.write_bytes(altered)
    try:
        assert [finding.episode for finding in verify(store)] == [episode_id]
        try:
            episode = store.load(episode_id)
            assert header_of(episode).id == episode_id
        except EpisodeCorrupt as error:
            assert episode_id in str(error)  # noqa: PT017
    finally:
        path.write_bytes(content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_truncated_file_is_read(whole, data):
    store, episode_id, content = whole
    path = store.path(episode_id)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        assert [(f.kind, f.episode) for f in verify(store)] == [("corrupt", episode_id)]
        with pytest.raises(EpisodeCorrupt, match=episode_id):
            store.load(episode_id)
    finally:
        path.write_bytes(content)


@given(draft=drafts())
@QUICK
def test_the_bytes_of_a_file_follow_from_the_episode(draft):
    header = header_of(draft)
    once, again = encode(draft, header), encode(draft, header)
    assert once == again
    assert row_of(header, once) == row_of(header, again)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    root = tmp_path_factory.mktemp("pool")
    store = EpisodeStore(root / "episodes")
    for seed in range(6):
        store.commit(synthetic_draft(seed, length=1 + 3 * seed, height=2, width=2, cameras=("a",)))
    return store, root / "cache"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_view_does_not_depend_on_what_is_packed_beside_it(pool, data):
    store, cache = pool
    ids = data.draw(st.lists(st.sampled_from(store.ids()), min_size=1))
    first = FrameCache(cache).view(store, ids)
    with tempfile.TemporaryDirectory() as elsewhere:
        again = FrameCache(elsewhere).view(store, ids[::-1])
        assert again.episode_ids == first.episode_ids == tuple(sorted(set(ids)))
        for name in ("state", "action", "intervened", "offsets", "episode_of"):
            np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
        rows = np.array(data.draw(st.lists(st.integers(0, first.num_frames - 1), max_size=9)), dtype=np.int64)
        np.testing.assert_array_equal(again.gather(rows), first.gather(rows))
        np.testing.assert_array_equal(again.images[:], first.images[:])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 120), seed=st.integers(0, 2**63), chunk=st.integers(1, 30), epochs=st.integers(1, 3))
def test_each_epoch_reads_each_frame_exactly_once(pool, batch_size, seed, chunk, epochs):
    store, cache = pool
    packed = FrameCache(cache).view(store, store.ids())
    batches = TrainingBatches(packed, chunk=chunk, batch_size=batch_size, seed=seed)
    steps = -(-packed.num_frames * epochs // batch_size)
    order = np.concatenate([batches.indices(step) for step in range(steps)])
    for epoch in range(epochs):
        visited = order[epoch * packed.num_frames : (epoch + 1) * packed.num_frames]
        assert sorted(visited) == list(range(packed.num_frames))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(0, 10**12), seed=st.integers(0, 2**63), batch_size=st.integers(1, 64), chunk=st.integers(1, 9))
def test_a_batch_is_a_function_of_seed_and_step(pool, step, seed, batch_size, chunk):
    store, cache = pool
    packed = FrameCache(cache).view(store, store.ids())
    args = {"chunk": chunk, "batch_size": batch_size, "seed": seed}
    used = TrainingBatches(packed, **args)
    used.batch(step + 1)
    used.batch(0)
    for name, value in TrainingBatches(packed, **args).batch(step).items():
        np.testing.assert_array_equal(used.batch(step)[name], value)


@given(data=st.data(), chunk=st.integers(1, 6))
@QUICK
def test_statistics_ignore_the_order_and_survive_json(data, chunk):
    dims = data.draw(st.integers(1, 3))
    small = st.floats(-1e6, 1e6, width=32)
    lengths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    pairs = [
        tuple(data.draw(hnp.arrays(np.float32, (length, dims), elements=small)) for _ in range(2)) for length in lengths
    ]
    stats = compute_stats(pairs, chunk=chunk, relative_dims=range(dims))
    shuffled = compute_stats(data.draw(st.permutations(pairs)), chunk=chunk, relative_dims=range(dims))
    assert shuffled.to_json() == stats.to_json() == Stats.from_json(stats.to_json()).to_json()
    for moments in (stats.state, stats.action, stats.relative_action):
        assert (moments.min <= moments.q01).all()
        assert (moments.q01 <= moments.q99).all()
        assert (moments.q99 <= moments.max).all()
        # The mean of equal numbers may round one step outside their range.
        slack = 1e-9 * (1 + np.abs(moments.mean))
        assert ((moments.min - slack <= moments.mean) & (moments.mean <= moments.max + slack)).all()
