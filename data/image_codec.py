"""How the images of an episode are stored: lossless, or as JPEG at a stated quality.

What an episode holds is what its file gives back: an image that goes through JPEG is recorded as JPEG returns it, so
the id of the episode is the digest of those pixels and proves them, whatever the codec.

As a zarr v3 codec, `recap.jpeg` turns a chunk [n, h, w, 3] uint8 into n JPEG files, each behind its length (uint32,
little endian). Full chroma (4:4:4), baseline.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.errors import ConfigError
from recap.types import FrameArray

JPEG_NAME = "recap.jpeg"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageCodec:
    """One way to store images."""

    quality: int | None = None
    """Of JPEG, 1 to 100; None: lossless."""

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"JPEG quality {self.quality}, expected 1 to 100", hint="95 hides its losses well")

    def through(self, frames: FrameArray) -> FrameArray:
        """What the codec gives back for frames [T, h, w, 3]."""
        if self.quality is None:
            return frames
        return np.stack([jpeg_decode(jpeg_encode(frame, self.quality)) for frame in frames])

    def zarr_codecs(self, level: int) -> dict[str, Any]:
        """Arguments of `create_array` for an image array."""
        from zarr.codecs import ZstdCodec

        if self.quality is None:
            return {"compressors": ZstdCodec(level=level)}
        return {"serializer": jpeg_codec()(quality=self.quality), "compressors": None}


LOSSLESS = ImageCodec()


def jpeg_encode(frame: FrameArray, quality: int) -> bytes:
    """One image [h, w, 3] as a JPEG file; equal images give equal bytes under one version of the encoder."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(frame).save(content, "JPEG", quality=quality, subsampling=0)
    return content.getvalue()


def jpeg_decode(content: bytes) -> FrameArray:
    """[h, w, 3] of a JPEG file.

    Raises:
        ValueError: it is none, or not of three channels.
    """
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        if image.mode != "RGB":
            raise ValueError(f"a JPEG of mode {image.mode}, expected RGB")
        return np.asarray(image)


@cache
def jpeg_codec() -> type[Any]:
    """The codec class, registered with zarr under JPEG_NAME; zarr is imported by who first needs it."""
    from zarr.abc.codec import ArrayBytesCodec
    from zarr.registry import register_codec

    class JpegCodec(ArrayBytesCodec):
        """See the module."""

        is_fixed_size = False

        def __init__(self, *, quality: int) -> None:
            self.quality = ImageCodec(quality=quality).quality

        @classmethod
        def from_dict(cls, data: dict[str, Any]) -> JpegCodec:
            return cls(quality=int(data["configuration"]["quality"]))

        def to_dict(self) -> dict[str, Any]:
            return {"name": JPEG_NAME, "configuration": {"quality": self.quality}}

        def compute_encoded_size(self, input_byte_length: int, _chunk_spec: Any) -> int:
            raise NotImplementedError("the size of a JPEG depends on its content")

        async def _encode_single(self, chunk_array: Any, chunk_spec: Any) -> Any:
            parts: list[bytes] = []
            for frame in chunk_array.as_numpy_array():
                content = jpeg_encode(np.ascontiguousarray(frame), self.quality or 0)
                parts += [struct.pack("<I", len(content)), content]
            return chunk_spec.prototype.buffer.from_bytes(b"".join(parts))

        async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            frames: NDArray[np.uint8] = np.empty(chunk_spec.shape, dtype=np.uint8)
            files = list(_split(chunk_bytes.to_bytes()))
            if len(files) != len(frames):
                raise ValueError(f"a chunk of {len(files)} JPEG files, expected {len(frames)}")
            for place, content in enumerate(files):
                frame = jpeg_decode(content)
                if frame.shape != frames.shape[1:]:
                    raise ValueError(f"a JPEG of shape {frame.shape}, expected {frames.shape[1:]}")
                frames[place] = frame
            return chunk_spec.prototype.nd_buffer.from_numpy_array(frames)

    register_codec(JPEG_NAME, JpegCodec)
    return JpegCodec


def _split(content: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(content):
        (size,) = struct.unpack_from("<I", content, place)
        place += 4
        if place + size > len(content):
            raise ValueError(f"a JPEG of {size} bytes is cut short")
        yield content[place : place + size]
        place += size
