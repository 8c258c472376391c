"""Films whose bytes were damaged: refused rather than made up for. Films of open groups of pictures are read."""

import av
import numpy as np
import pytest

from data.lerobot_io.video import read_frames
from recap.errors import ConfigError

FRAMES, SIDE, FPS = 60, 96, 30


def _film(path, **options):
    rng = np.random.default_rng(0)
    still = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for t in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(np.roll(still, 3 * t, axis=1), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _read(path, rows):
    times = [row / FPS for row in rows]
    return list(read_frames(path, times, tolerance_s=1e-3, shape=(SIDE, SIDE), where="episode 0"))


def test_most_damage_to_a_film_is_noticed(tmp_path):
    good = _film(tmp_path / "good.mp4")
    assert len(_read(good, range(FRAMES))) == FRAMES
    content = good.read_bytes()
    begin = content.index(b"mdat") + 1000
    refused = 0
    for place in np.linspace(begin, len(content) - 4000, 12).astype(int):
        (tmp_path / "bad.mp4").write_bytes(content[:place] + bytes(256) + content[place + 256 :])
        try:
            _read(tmp_path / "bad.mp4", range(FRAMES))
        except ConfigError as error:
            refused += "is not readable as a film" in error.message
    # Decoded by default, none of these is: pictures are made up from earlier ones, without a word.
    assert refused >= 9


@pytest.mark.parametrize("first", range(0, 50, 7))
def test_an_open_group_of_pictures_is_no_damage(tmp_path, first):
    path = _film(tmp_path / "open.mp4", **{"x264-params": "open-gop=1:keyint=12:bframes=3:b-pyramid=normal"})
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(_read(path, range(first, first + 10)), whole[first : first + 10])
