"""The frames of one episode from an mp4 file, decoded as LeRobot decodes them (PyAV, rgb24).

Owns which frames belong to the episode: each step of the rate has exactly one, where it should be.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data.lerobot_io.folder import VideoSpan
from data.lerobot_io.tables import RATE_TOLERANCE
from recap.errors import ConfigError
from recap.types import FrameArray


def read_frames(
    span: VideoSpan, *, length: int, fps: float, shape: tuple[int, int], where: str
) -> Iterator[FrameArray]:
    """`length` frames [h, w, 3] uint8 RGB, in order.

    Args:
        span: where they lie.
        length: T.
        fps: control rate, which the video shares.
        shape: (h, w) that info.json states.
        where: begins every complaint.

    Raises:
        ConfigError: no readable video, another size or rate, or more or fewer frames than the table has rows.
    """
    import av

    count = 0
    try:
        # The container is named outright: a playlist under the name of a video is not followed.
        with av.open(str(span.path), format="mp4") as container:
            if not container.streams.video:
                raise ConfigError(f"{where}: {span.path} holds no video")
            stream = container.streams.video[0]
            # PyAV follows a null pointer when it decodes a codec that it does not know.
            base = 0.0 if stream.codec_context is None else float(stream.time_base or 0)
            if base <= 0:
                raise ConfigError(f"{where}: {span.path} is of no known codec or has no time base")
            if span.start_s > 0:
                container.seek(round(span.start_s / base) - 1, backward=True, any_frame=False, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise ConfigError(f"{where}: {span.path} has a frame without a time")
                place = (frame.pts * base - span.start_s) * fps
                if place < -0.5:
                    continue  # between the key frame and the episode's first
                if place > length - 0.5 and not span.whole_file:
                    break
                if count == length:
                    raise ConfigError(f"{where}: {span.path} holds more than the {length} frames of the table")
                if abs(place - count) > RATE_TOLERANCE:
                    raise ConfigError(
                        f"{where}: frame {count} of the video lies at {place / fps:.4f} s, "
                        f"expected {count / fps:.4f} s at {fps:g} Hz"
                    )
                if (frame.height, frame.width) != shape:
                    found = (frame.height, frame.width)
                    raise ConfigError(f"{where}: frame {count} of the video is {found}, expected {shape}")
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                count += 1
    except av.FFmpegError as error:
        raise ConfigError(f"{where}: {span.path} is not readable as a video after frame {count} ({error})") from error
    if count != length:
        raise ConfigError(f"{where}: {span.path} holds {count} frames, the table {length}")
