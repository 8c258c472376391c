"""The frame cache holds what the store holds, packs each episode once, and never serves a torn shard."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tests.support.synthetic import CAMERAS, synthetic_draft

from data.episodes import EpisodeStore
from data.framecache import FrameCache, check_pack
from data.resize import letterbox
from recap.errors import ArtifactCorrupt, ConfigError, EpisodeCorrupt, UnknownName

LENGTHS = (12, 1, 7, 23)
ROW = 3 * 16 * 16 * 3 + 4 * (14 + 14) + 1
"""Bytes of one packed frame of the store below."""


def never(done, total):
    pytest.fail("packed again")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = EpisodeStore(tmp_path_factory.mktemp("episodes"))
    for seed, length in enumerate(LENGTHS):
        store.commit(synthetic_draft(seed, length=length))
    return store


def same(view, store):
    """The view holds what the store holds."""
    for number, episode_id in enumerate(view.episode_ids):
        episode, rows = store.load(episode_id), view.rows_of(episode_id)
        for c, camera in enumerate(view.cameras):
            np.testing.assert_array_equal(view.images[rows, c], letterbox(episode.frames[camera], *view.image_size))
        np.testing.assert_array_equal(view.state[rows], episode.state)
        np.testing.assert_array_equal(view.action[rows], episode.action)
        np.testing.assert_array_equal(view.intervened[rows], episode.intervened)
        assert set(view.episode_of[rows]) == {number}
    return True


def bytes_of(root):
    return sum(p.stat().st_size for p in root.glob("*/*") if p.suffix in {".images", ".numbers", ".latents"})


def test_rows_are_the_episodes_in_order_of_id(store, tmp_path):
    view = FrameCache(tmp_path).view(store, reversed(store.ids()))
    assert view.images.shape == (sum(LENGTHS), 3, 16, 16, 3)
    assert (view.episode_ids, view.cameras, view.num_frames) == (store.ids(), CAMERAS, sum(LENGTHS))
    assert same(view, store)
    assert view.verify() == []
    for array in (view.state, view.action, view.intervened, view.images[0]):
        assert not array.flags.writeable


def test_rows_are_gathered_in_the_order_asked(store, tmp_path, monkeypatch):
    # In one file and in one file per episode.
    one = FrameCache(tmp_path / "one").view(store, store.ids())
    monkeypatch.setattr("data.shards.SEGMENT_BYTES", 1)
    monkeypatch.setattr("data.shards.COMMIT_BYTES", 1)
    many = FrameCache(tmp_path / "many").view(store, store.ids())
    assert len(list((tmp_path / "many").glob("*/*.images"))) == len(LENGTHS)
    everything, rows = one.images[:], np.array([40, 3, 3, 12, 0])
    for view in (one, many):
        np.testing.assert_array_equal(view.gather(rows), everything[rows])
        np.testing.assert_array_equal(view.gather(rows, np.array([2, 0])), everything[rows][:, [2, 0]])
        np.testing.assert_array_equal(view.gather(rows, np.array([0, 1, 2])), everything[rows])
        np.testing.assert_array_equal(view.images[5:9], everything[5:9])
        np.testing.assert_array_equal(view.images[rows, 1], everything[rows, 1])
        np.testing.assert_array_equal(view.images[-1], everything[-1])
        np.testing.assert_array_equal(view.images[7, 2], everything[7, 2])
        for wrong in ([-1], [sum(LENGTHS)]):
            with pytest.raises(IndexError):
                view.gather(np.array(wrong))
        for wrong_row in (sum(LENGTHS), -sum(LENGTHS) - 1):
            with pytest.raises(IndexError):
                view.images[wrong_row]
        with pytest.raises(ConfigError, match="not among the 4"):
            view.rows_of("0" * 64)


def test_chosen_cameras_in_the_order_asked(store, tmp_path):
    names = ("cam_right_wrist", "cam_high")
    view = FrameCache(tmp_path).view(store, store.ids(), cameras=names)
    assert view.cameras == names
    assert same(view, store)
    for bad in (("cam_top",), (), ("cam_high", "cam_high")):
        with pytest.raises(ConfigError, match="cameras"):
            FrameCache(tmp_path).view(store, store.ids(), cameras=bad)


def test_each_episode_is_packed_once_whatever_the_set(store, tmp_path):
    seen = []
    cache, ids = FrameCache(tmp_path), store.ids()
    cache.view(store, ids[:2], progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
    grown = cache.view(store, ids, progress=lambda *done: seen.append(done))
    assert seen[2:] == [(1, 2), (2, 2)]
    for some in (ids, ids[1:3], ids[::2]):
        assert same(cache.view(store, some, progress=never), store)
        assert same(FrameCache(tmp_path).view(store, some, progress=never), store)
    assert same(grown, store)
    assert bytes_of(tmp_path) == sum(LENGTHS) * ROW


def test_several_sizes_lie_side_by_side(store, tmp_path):
    cache = FrameCache(tmp_path)
    views = [cache.view(store, store.ids(), image_size=size) for size in (None, (8, 8), (20, 12))]
    views.append(cache.view(store, store.ids(), cameras=CAMERAS[:1]))
    assert all(same(view, store) for view in views)
    assert same(cache.view(store, store.ids(), image_size=(16, 16), progress=never), store)
    assert len({path.parent for path in tmp_path.glob("*/*.images")}) == 4


def test_a_view_travels_to_another_process_while_it_is_open(store, tmp_path):
    view = FrameCache(tmp_path).view(store, store.ids()[:3])
    copy = pickle.loads(pickle.dumps(view))
    np.testing.assert_array_equal(copy.images[:], view.images[:])
    np.testing.assert_array_equal(copy.action, view.action)
    assert copy.episode_ids == view.episode_ids
    sent = pickle.dumps(view)
    for index in tmp_path.glob("*/*.index"):
        index.unlink()
    with pytest.raises(ArtifactCorrupt, match="no longer packed"):
        pickle.loads(sent)


@pytest.mark.parametrize("suffix", ["images", "numbers", "index"])
@pytest.mark.parametrize("harm", ["short", "empty", "gone", "first"])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_torn_shard_is_packed_again(store, tmp_path, suffix, harm, fresh):
    cache = FrameCache(tmp_path)
    whole = cache.view(store, store.ids()).images[:]
    (path,) = tmp_path.glob(f"*/*.{suffix}")
    content = path.read_bytes()
    harmed = {"short": content[:-1], "empty": b"", "first": b"\0" * 64 + content[64:]}
    path.unlink()
    if harm != "gone":
        path.write_bytes(harmed[harm])
    again = (FrameCache(tmp_path) if fresh else cache).view(store, store.ids())
    if (suffix, harm) == ("images", "first"):
        assert [line.split()[1] for line in again.verify()] == ["images"]  # found when every byte is read
        return
    np.testing.assert_array_equal(again.images[:], whole)
    assert again.verify() == []
    # A process that has read the index before does not read those lines again; the next one does.
    last = FrameCache(tmp_path).view(store, store.ids(), progress=never if fresh or suffix != "index" else None)
    assert same(last, store)


def test_what_a_killed_builder_left_is_written_over(store, tmp_path):
    cache = FrameCache(tmp_path)
    cache.view(store, store.ids()[:2])
    for path in tmp_path.glob("*/000001-*"):
        with path.open("ab") as file:
            file.write(b"half a shard")
    assert same(FrameCache(tmp_path).view(store, store.ids()), store)
    assert FrameCache(tmp_path).view(store, store.ids(), progress=never).verify() == []


@pytest.mark.parametrize("column", ["images", "numbers"])
def test_every_byte_is_accounted_for(store, tmp_path, column):
    view = FrameCache(tmp_path).view(store, store.ids())
    (path,) = tmp_path.glob(f"*/*.{column}")
    content = bytearray(path.read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        content[place] ^= 1
        path.write_bytes(content)
        (wrong,) = view.verify()
        episode, name = wrong.split()
        assert (episode in store.ids(), name) == (True, column)
        content[place] ^= 1


def test_what_must_not_be_mixed(tmp_path):
    store, cache = EpisodeStore(tmp_path / "episodes"), FrameCache(tmp_path / "cache")
    base = store.commit(synthetic_draft(0))
    cases = {
        "robot": synthetic_draft(1, robot="other"),
        "renderer": synthetic_draft(1, renderer="egl"),
        "cameras": synthetic_draft(1, cameras=("cam_high",)),
        "action_dim": synthetic_draft(1, action_dim=7),
        "state_dim": synthetic_draft(1, state_dim=7),
        "rate_hz": replace(synthetic_draft(1), rate_hz=20.0),
        "sizes": synthetic_draft(1, height=8),
    }
    for what, draft in cases.items():
        with pytest.raises(ConfigError, match=what):
            cache.view(store, [base, store.commit(draft)])
    both = [base, store.commit(cases["renderer"])]
    assert cache.view(store, both, allow_mixed_renderers=True).num_frames == 24
    # They are packed now; asking without the permission is refused all the same.
    with pytest.raises(ConfigError, match="renderer"):
        cache.view(store, both)
    sizes = [base, store.commit(cases["sizes"])]
    assert cache.view(store, sizes, image_size=(8, 8)).images.shape[2:4] == (8, 8)
    with pytest.raises(ConfigError, match=r"image_size \(0, 8\)"):
        cache.view(store, sizes, image_size=(0, 8))


def test_no_episode_and_unknown_episode(store, tmp_path):
    with pytest.raises(ConfigError, match="no episode"):
        FrameCache(tmp_path).view(store, [])
    with pytest.raises(UnknownName, match="episode"):
        FrameCache(tmp_path).view(store, ["0" * 64])


def test_a_view_beyond_the_cap_is_refused_before_a_byte_is_written(store, tmp_path):
    size = sum(LENGTHS) * ROW
    with pytest.raises(ConfigError, match=r"4 episodes needs .* the cap is"):
        FrameCache(tmp_path, max_bytes=size - 1).view(store, store.ids())
    with pytest.raises(ConfigError, match=r"4 episodes needs .* the cap is"):
        check_pack(store.rows(), image_size=(16, 16), cameras=CAMERAS, max_bytes=size - 1)
    assert bytes_of(tmp_path) == 0
    check_pack(store.rows(), image_size=(16, 16), cameras=CAMERAS, max_bytes=size)
    assert same(FrameCache(tmp_path, max_bytes=size).view(store, store.ids()), store)


def test_room_is_made_of_what_was_unused_for_longest(store, tmp_path):
    size = sum(LENGTHS) * ROW
    cache, seen = FrameCache(tmp_path, max_bytes=size + 2 * sum(LENGTHS) * (3 * 64 * 3 + 113)), []
    for edge in (8, 16, 8):
        cache.view(store, store.ids(), image_size=(edge, edge))
    cache.view(store, store.ids(), image_size=(9, 9))  # drops 16 x 16
    assert bytes_of(tmp_path) <= cache._shards.max_bytes
    cache.view(store, store.ids(), image_size=(8, 8), progress=never)
    cache.view(store, store.ids(), progress=lambda *done: seen.append(done))
    assert seen[-1] == (4, 4)
    assert bytes_of(tmp_path) <= cache._shards.max_bytes


def test_an_open_view_keeps_its_shards(store, tmp_path):
    size = sum(LENGTHS) * ROW
    cache = FrameCache(tmp_path, max_bytes=size)
    old = cache.view(store, store.ids())
    with pytest.raises(ConfigError, match="in use, the cap is"):
        FrameCache(tmp_path, max_bytes=size).view(store, store.ids(), image_size=(8, 8))
    assert same(cache.view(store, store.ids(), progress=never), store)
    del old
    assert same(cache.view(store, store.ids(), image_size=(8, 8)), store)
    assert bytes_of(tmp_path) < size


def test_a_view_of_another_process_keeps_its_shards(store, tmp_path):
    code = (
        "import sys; from data.episodes import EpisodeStore; from data.framecache import FrameCache\n"
        "s = EpisodeStore(sys.argv[1]); v = FrameCache(sys.argv[2]).view(s, s.ids())\n"
        "print('open', flush=True); input()"
    )
    args = [sys.executable, "-c", code, str(store.root), str(tmp_path)]
    cache = FrameCache(tmp_path, max_bytes=sum(LENGTHS) * ROW)
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConfigError, match="in use, the cap is"):
            cache.view(store, store.ids(), image_size=(8, 8))
        other.kill()  # a dead process keeps nothing
    assert same(cache.view(store, store.ids(), image_size=(8, 8)), store)


def test_room_is_made_of_segments_that_are_wanted_in_part(store, tmp_path):
    ids = store.ids()
    lengths = {row.id: row.length for row in store.rows()}
    cap = sum(lengths[i] for i in ids[1:]) * ROW
    cache = FrameCache(tmp_path, max_bytes=cap)
    cache.view(store, ids[:2])  # one segment
    seen = []
    # Alone it fits; together with ids[0], which lies beside ids[1], it would not.
    assert same(cache.view(store, ids[1:], progress=lambda *done: seen.append(done)), store)
    assert seen[-1] == (3, 3)
    assert bytes_of(tmp_path) <= cap


def test_a_corrupt_episode_fails_and_leaves_no_shard_of_it(tmp_path):
    store = EpisodeStore(tmp_path / "episodes")
    path = store.path(store.commit(synthetic_draft(0)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EpisodeCorrupt, match=path.stem):
        FrameCache(tmp_path / "cache").view(store, [path.stem])
    assert not list((tmp_path / "cache").glob("*/*.index"))


def test_threads_that_ask_at_once_pack_once(store, tmp_path):
    def build(number):
        cache = FrameCache(tmp_path) if number % 2 else shared
        return same(cache.view(store, store.ids()), store)

    shared = FrameCache(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(build, range(8)))
    assert bytes_of(tmp_path) == sum(LENGTHS) * ROW


def test_an_index_line_says_where_a_shard_lies(store, tmp_path):
    FrameCache(tmp_path).view(store, store.ids())
    (index,) = tmp_path.glob("*/*.index")
    lines = [json.loads(line.split(" ", 1)[1]) for line in index.read_text().splitlines()]
    assert {(episode, length) for episode, _, length, _ in lines} == {(row.id, row.length) for row in store.rows()}


def encoder_of(calls, scale=2.0):
    """Latents [n, V, 2]: mean and maximum of each picture, times `scale`."""

    def encode(images):
        calls.append(images.shape)
        assert len(images) <= 5
        flat = images.reshape(*images.shape[:2], -1).astype(np.float32)
        return scale * np.stack([flat.mean(-1), flat.max(-1)], axis=-1)

    return encode


def test_latents_are_encoded_once_for_all_views(store, tmp_path):
    cache, calls, ids = FrameCache(tmp_path), [], store.ids()
    view = cache.view(store, ids)
    ask = {"shape": (2,), "views": np.array([2, 0]), "batch": 5}
    latents = view.latents("a", encoder_of(calls), episodes=[1, 3], **ask)
    frames = sum(view.offsets[e + 1] - view.offsets[e] for e in (1, 3))
    assert sum(shape[0] for shape in calls) == frames
    rows = np.flatnonzero(np.isin(view.episode_of, (1, 3)))[::-1]
    expected = encoder_of([])(view.gather(rows[:5], np.array([2, 0])))
    np.testing.assert_allclose(latents.take(rows[:5]), expected, rtol=1e-6)
    with pytest.raises(IndexError, match="episode 0 was not asked for"):
        latents.take(np.array([0]))
    calls.clear()
    # Another set of episodes, another view, another instance: nothing is encoded again.
    other = FrameCache(tmp_path).view(store, [ids[3], ids[1]])
    again = other.latents("a", encoder_of(calls), episodes=[0, 1], **ask)
    np.testing.assert_array_equal(again[:], latents.take(rows[::-1]))
    assert calls == []
    view.latents("a", encoder_of(calls), episodes=range(4), **ask)
    assert sum(shape[0] for shape in calls) == view.num_frames - frames


@pytest.mark.parametrize("change", ["encoder", "views", "size"])
def test_other_latents_are_other_shards(store, tmp_path, change):
    view, calls = FrameCache(tmp_path).view(store, store.ids()), []
    ask = {"shape": (2,), "views": np.array([0, 1]), "episodes": range(4), "batch": 5}
    first = view.latents("a", encoder_of(calls), **ask)
    count = len(calls)
    if change == "size":
        view = FrameCache(tmp_path).view(store, store.ids(), image_size=(8, 8))
    ask |= {"views": np.array([1, 0])} if change == "views" else {}
    second = view.latents("b" if change == "encoder" else "a", encoder_of(calls, 3.0), **ask)
    assert len(calls) == 2 * count
    assert not np.array_equal(first[:], second[:])


def test_an_encoder_of_another_shape_than_it_says_is_refused(store, tmp_path):
    view = FrameCache(tmp_path).view(store, store.ids())
    with pytest.raises(ConfigError, match=r"float32 \(\d+, 1, 2\), expected float32 \(\d+, 1, 3\)"):
        view.latents("a", encoder_of([]), shape=(3,), views=np.array([0]), episodes=[0], batch=5)


def test_letterbox_keeps_the_aspect_and_the_brightness():
    wide = np.full((2, 20, 40, 3), 200, np.uint8)
    small = letterbox(wide, 16, 16)
    assert small.shape == (2, 16, 16, 3)
    assert (small[:, 4:12] == 200).all()
    assert (small[:, :4] == 0).all()
    assert (small[:, 12:] == 0).all()
    assert letterbox(wide, 20, 40) is wide
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None], (1, 64, 64, 3)).copy()
    shrunk = letterbox(ramp, 16, 16)[0, 0, :, 0].astype(int)
    assert (np.abs(np.diff(shrunk)[1:-1] - 4) <= 1).all()
    assert letterbox(ramp[:, :8, :8], 32, 32).shape == (1, 32, 32, 3)
