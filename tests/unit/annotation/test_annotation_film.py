"""Sheets show every step where the layout says it is, for any mix of camera sizes."""

import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.support.synthetic import synthetic_draft

from data.episode_file import header_of
from data.episodes import EpisodeStore
from pipelines.annotation_server import film
from pipelines.annotation_server.film import FILM_PIXELS, FILMS_KEPT, SHEET_SIDE, Films, encode_sheets, layout_of
from recap.errors import UnknownName


def header(length, **sizes):
    arrays = {"state": {"shape": [length, 14]}}
    arrays |= {f"frames/{name}": {"shape": [length, h, w, 3]} for name, (h, w) in sizes.items()}
    return SimpleNamespace(arrays=arrays, length=length, cameras=tuple(sorted(sizes)))


def cell(sheets, layout, t):
    """[height, sum of widths, 3] of step t, found as the page finds it."""
    picture = np.asarray(Image.open(io.BytesIO(sheets[t // layout.per_sheet])))
    place = t % layout.per_sheet
    top, left = place // layout.columns * layout.pitch_y, place % layout.columns * layout.pitch_x
    return picture[top : top + layout.height, left : left + sum(layout.widths)]


@pytest.mark.parametrize(
    "sizes", [{"a": (64, 64), "b": (64, 64)}, {"a": (48, 37), "b": (20, 30)}, {"only": (300, 400)}]
)
@pytest.mark.parametrize("length", [1, 7, 83])
def test_every_step_is_where_the_layout_says(sizes, length):
    layout = layout_of(header(length, **sizes))
    # One plain colour per camera and step: what scaling and JPEG keep.
    frames = {
        camera: np.broadcast_to(
            np.array([[[[t * 3 % 256, 40 + 90 * which, 255 - t * 3 % 256]]] for t in range(length)], np.uint8),
            (length, *size, 3),
        )
        for which, (camera, size) in enumerate(sizes.items())
    }
    sheets = encode_sheets(frames.__getitem__, layout)
    assert len(sheets) == layout.sheets
    assert max(max(Image.open(io.BytesIO(sheet)).size) for sheet in sheets) <= SHEET_SIDE
    for t in range(length):
        shown, left = cell(sheets, layout, t), 0
        for camera, width in zip(layout.cameras, layout.widths, strict=True):
            part = shown[:, left : left + width].astype(int)
            assert np.abs(part - frames[camera][t, 0, 0]).max() <= 12, (t, camera)
            left += width


def test_small_cameras_are_not_scaled_and_large_films_are_shrunk():
    assert layout_of(header(100, a=(64, 64), b=(64, 64))).widths == (64, 64)
    large = layout_of(header(300, a=(480, 640)))
    assert (large.height, large.widths) == (256, (341,))
    endless = layout_of(header(20_000, a=(480, 640), b=(480, 640)))
    assert 48 <= endless.height < 256
    assert endless.length * endless.height * sum(endless.widths) < 1.1 * FILM_PIXELS


def test_films_come_from_the_store_and_few_are_kept(tmp_path):
    store = EpisodeStore(tmp_path / "episodes")
    drafts = [synthetic_draft(seed, length=5, cameras=("cam_high",)) for seed in range(FILMS_KEPT + 2)]
    ids = [store.commit(draft) for draft in drafts]
    films = Films(store)
    for draft, episode_id in zip(drafts, ids, strict=True):
        assert films.sheet(episode_id, 0) == encode_sheets(draft.frames.__getitem__, layout_of(header_of(draft)))[0]
    assert list(films._kept) == ids[2:]
    with pytest.raises(UnknownName, match=r"has sheets 0\.\.0, asked for 1"):
        films.sheet(ids[0], 1)


def test_requests_at_once_make_a_film_once(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path / "episodes")
    episode_id = store.commit(synthetic_draft(0))
    loads = []
    monkeypatch.setattr(film, "encode_sheets", lambda *args: loads.append(args) or encode_sheets(*args))
    films = Films(store)
    threads = [threading.Thread(target=films.sheet, args=(episode_id, 0)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
