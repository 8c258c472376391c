"""The packed cache holds what the store holds, is built once, and never serves a torn pack."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data.episodes import EpisodeStore
from data.framecache import PackedExperience, Torn
from data.resize import letterbox
from data.synthetic import CAMERAS, synthetic_draft
from recap.errors import ConfigError, EpisodeCorrupt, UnknownName

LENGTHS = (12, 1, 7, 23)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = EpisodeStore(tmp_path_factory.mktemp("episodes"))
    for seed, length in enumerate(LENGTHS):
        store.commit(synthetic_draft(seed, length=length))
    return store


def test_rows_are_the_episodes_in_order_of_id(store, tmp_path):
    pack = PackedExperience.build(store, reversed(store.ids()), tmp_path)
    assert pack.images.shape == (sum(LENGTHS), 3, 16, 16, 3)
    assert (pack.episode_ids, pack.cameras) == (store.ids(), CAMERAS)
    assert not pack.images.flags.writeable
    for number, episode_id in enumerate(pack.episode_ids):
        episode, rows = store.load(episode_id), pack.rows_of(episode_id)
        for c, camera in enumerate(pack.cameras):
            np.testing.assert_array_equal(pack.images[rows, c], episode.frames[camera])
        np.testing.assert_array_equal(pack.state[rows], episode.state)
        np.testing.assert_array_equal(pack.action[rows], episode.action)
        np.testing.assert_array_equal(pack.intervened[rows], episode.intervened)
        assert set(pack.episode_of[rows]) == {number}
    assert pack.verify() == []


def test_chosen_cameras_in_the_order_asked(store, tmp_path):
    names = ("cam_right_wrist", "cam_high")
    pack = PackedExperience.build(store, store.ids(), tmp_path, cameras=names)
    first = store.load(pack.episode_ids[0])
    assert pack.cameras == names
    np.testing.assert_array_equal(pack.images[: first.length, 0], first.frames["cam_right_wrist"])
    for bad in (("cam_top",), (), ("cam_high", "cam_high")):
        with pytest.raises(ConfigError, match="cameras"):
            PackedExperience.build(store, store.ids(), tmp_path, cameras=bad)


def test_built_once_and_opened_after(store, tmp_path):
    seen = []
    first = PackedExperience.build(store, store.ids(), tmp_path, progress=lambda *done: seen.append(done))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = PackedExperience.build(store, store.ids(), tmp_path, progress=lambda *done: pytest.fail("built again"))
    assert again.path == first.path
    copy = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(copy.images, first.images)


def test_another_set_or_size_is_another_pack(store, tmp_path):
    paths = {
        PackedExperience.build(store, store.ids(), tmp_path).path,
        PackedExperience.build(store, store.ids()[1:], tmp_path).path,
        PackedExperience.build(store, store.ids(), tmp_path, image_size=(8, 8)).path,
        PackedExperience.build(store, store.ids(), tmp_path, cameras=CAMERAS[:1]).path,
    }
    assert len(paths) == 4


@pytest.mark.parametrize("name", ["images.npy", "state.npy", "offsets.npy", "manifest.json"])
@pytest.mark.parametrize("harm", ["short", "long", "gone", "header"])
def test_a_torn_pack_is_built_again(store, tmp_path, caplog, name, harm):
    pack = PackedExperience.build(store, store.ids(), tmp_path)
    whole = np.array(pack.images)
    path = pack.path / name
    content = path.read_bytes()
    harmed = {"short": content[:-1], "long": content + b"x", "header": b"\0" * 64 + content[64:]}
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(harmed[harm])
    with pytest.raises(Torn):
        PackedExperience(pack.path)
    again = PackedExperience.build(store, store.ids(), tmp_path)
    np.testing.assert_array_equal(again.images, whole)
    assert again.verify() == []
    assert "torn" in caplog.text


@pytest.mark.parametrize("name", ["state.npy", "action.npy", "intervened.npy", "offsets.npy"])
def test_numbers_are_proved_when_a_pack_is_opened(store, tmp_path, name):
    pack = PackedExperience.build(store, store.ids(), tmp_path)
    content = bytearray((pack.path / name).read_bytes())
    content[-1] ^= 1
    (pack.path / name).write_bytes(content)
    with pytest.raises(Torn, match="sha256"):
        PackedExperience(pack.path)


def test_verify_reads_every_byte(store, tmp_path):
    pack = PackedExperience.build(store, store.ids(), tmp_path)
    path = pack.path / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert PackedExperience(pack.path).verify() == ["images"]


def test_what_must_not_be_mixed(tmp_path):
    store = EpisodeStore(tmp_path / "episodes")
    base = store.commit(synthetic_draft(0))
    cases = {
        "robot": synthetic_draft(1, robot="other"),
        "renderer": synthetic_draft(1, renderer="egl"),
        "cameras": synthetic_draft(1, cameras=("cam_high",)),
        "action_dim": synthetic_draft(1, action_dim=7),
        "state_dim": synthetic_draft(1, state_dim=7),
        "sizes": synthetic_draft(1, height=8),
    }
    for what, draft in cases.items():
        with pytest.raises(ConfigError, match=what):
            PackedExperience.build(store, [base, store.commit(draft)], tmp_path / "cache")
    both = [base, store.commit(cases["renderer"])]
    pack = PackedExperience.build(store, both, tmp_path / "cache", allow_mixed_renderers=True)
    assert pack.num_frames == 24
    # The pack exists now; asking without the permission is refused all the same.
    with pytest.raises(ConfigError, match="renderer"):
        PackedExperience.build(store, both, tmp_path / "cache")
    sizes = [base, store.commit(cases["sizes"])]
    assert PackedExperience.build(store, sizes, tmp_path / "cache", image_size=(8, 8)).images.shape[2:4] == (8, 8)


def test_no_episode_and_unknown_episode(store, tmp_path):
    with pytest.raises(ConfigError, match="no episode"):
        PackedExperience.build(store, [], tmp_path)
    with pytest.raises(UnknownName, match="episode"):
        PackedExperience.build(store, ["0" * 64], tmp_path)


def test_cap_refuses_and_drops_the_least_used(store, tmp_path):
    with pytest.raises(ConfigError, match="cap is"):
        PackedExperience.build(store, store.ids(), tmp_path, max_bytes=1000)
    old = PackedExperience.build(store, store.ids()[:3], tmp_path)
    size = sum(f.stat().st_size for f in old.path.iterdir())
    kept = np.array(old.images)
    new = PackedExperience.build(store, store.ids()[1:], tmp_path, max_bytes=size + 60_000)
    assert not old.path.exists()
    assert new.path.exists()
    np.testing.assert_array_equal(old.images, kept)  # an open pack keeps its pages


def test_a_corrupt_episode_fails_the_build_and_leaves_no_pack(tmp_path):
    store = EpisodeStore(tmp_path / "episodes")
    path = store.path(store.commit(synthetic_draft(0)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EpisodeCorrupt, match=path.stem):
        PackedExperience.build(store, [path.stem], tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]


def test_many_at_once_build_one_pack(store, tmp_path):
    built = []

    def build(_):
        return PackedExperience.build(
            store, store.ids(), tmp_path, progress=lambda done, total: built.append(done)
        ).path

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(build, range(4)))) == 1
    assert sorted(built) == [1, 2, 3, 4]


def test_the_same_pack_in_another_process(store, tmp_path):
    code = (
        "import sys; from data.episodes import EpisodeStore; from data.framecache import PackedExperience\n"
        "s = EpisodeStore(sys.argv[1]); print(PackedExperience.build(s, s.ids(), sys.argv[2]).path)"
    )
    args = [sys.executable, "-c", code, str(store.root), str(tmp_path / "other")]
    other = subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()
    mine = PackedExperience.build(store, store.ids(), tmp_path / "mine").path
    manifests = [json.loads((p / "manifest.json").read_text()) for p in (mine, type(mine)(other))]
    assert manifests[0] == manifests[1]
    assert mine.name == type(mine)(other).name


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
