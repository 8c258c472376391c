"""Images as JPEG: what an episode holds is what its file gives back, and that is what its id proves."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from tests.support.synthetic import synthetic_draft

from data.episodes import EpisodeStore
from data.image_codec import ImageCodec
from data.verify import Kind, repair, verify
from recap.errors import ConfigError, EpisodeCorrupt

JPEG = ImageCodec(quality=90)


@pytest.fixture
def store(tmp_path):
    return EpisodeStore(tmp_path / "episodes")


def test_it_is_near_what_was_recorded_and_equal_at_every_reading(store):
    draft = synthetic_draft(1, length=13, height=40, width=56)
    episode_id = store.commit(draft, codec=JPEG)
    assert store.commit(draft, codec=JPEG) == episode_id
    assert episode_id != store.commit(draft), "what JPEG made of it is another recording"
    frames = store.load(episode_id).frames["cam_high"]
    np.testing.assert_array_equal(frames, store.load(episode_id).frames["cam_high"])
    error = np.abs(frames.astype(int) - draft.frames["cam_high"]).mean()
    assert 0 < error < 5
    np.testing.assert_array_equal(store.load(episode_id).state, draft.state)
    assert [f for f in verify(store) if f.kind is not Kind.DUPLICATE] == []


def test_higher_quality_is_nearer_and_larger(store):
    draft = synthetic_draft(1, height=40, width=56)
    ids = [store.commit(draft, codec=ImageCodec(quality=quality)) for quality in (50, 95)]
    errors = [np.abs(store.load(i).frames["cam_high"].astype(int) - draft.frames["cam_high"]).mean() for i in ids]
    assert errors[0] > errors[1]
    assert store.path(ids[0]).stat().st_size < store.path(ids[1]).stat().st_size


def test_a_frame_is_an_ordinary_jpeg_file(store):
    episode_id = store.commit(synthetic_draft(1, length=3), codec=JPEG)
    with zipfile.ZipFile(store.path(episode_id)) as archive:
        chunk = archive.read("frames/cam_high/c/0/0/0/0")
    size = int.from_bytes(chunk[:4], "little")
    with Image.open(io.BytesIO(chunk[4 : 4 + size])) as image:
        assert image.format == "JPEG"
        np.testing.assert_array_equal(np.asarray(image), store.load(episode_id).frames["cam_high"][0])


def test_taking_it_over_or_mending_it_loses_nothing_more(store, tmp_path):
    episode_id = store.commit(synthetic_draft(1), codec=JPEG)
    good = store.path(episode_id).read_bytes()
    other = EpisodeStore(tmp_path / "other")
    assert other.import_episode(store.path(episode_id)).id == episode_id
    assert other.path(episode_id).read_bytes() == good
    altered = bytearray(good)
    altered[10] ^= 1  # the time of day of a member
    store.path(episode_id).write_bytes(altered)
    assert [done.finding.kind for done in repair(store)] == [Kind.FRAMING]
    assert store.path(episode_id).read_bytes() == good


def test_a_changed_byte_of_a_picture_is_found(store):
    episode_id = store.commit(synthetic_draft(1), codec=JPEG)
    content = bytearray(store.path(episode_id).read_bytes())
    place = content.index(b"\xff\xd8\xff", content.index(b"frames/cam_high/c/0")) + 700
    content[place] ^= 0x10
    store.path(episode_id).write_bytes(content)
    with pytest.raises(EpisodeCorrupt, match="frames/cam_high"):
        store.load(episode_id).frames["cam_high"]
    assert [(f.kind, f.field) for f in verify(store)] == [(Kind.CORRUPT, "frames/cam_high")]


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(ConfigError, match=f"JPEG quality {quality}"):
        ImageCodec(quality=quality)
