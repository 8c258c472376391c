"""Messages of the openpi protocol: msgpack, with numpy arrays written as openpi-client writes them.

Bytes from outside are numbers and text or are refused: no pickle, no objects, no structured or complex arrays, nothing
larger than its message.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import msgpack
import numpy as np

from recap.errors import ConfigError

MAX_MESSAGE = 32 * 2**20
"""Bytes of a request: five cameras of 1920 x 1080 pixels."""
_MAX_ITEMS = 256
"""Entries of a map or a list: an observation has a few, a shape too. Numbers travel as arrays."""
_MAX_PARTS = 1024
"""Maps and lists of a message, however they are nested: each costs a call, and a message has room for millions."""
_MAX_TEXT = 16_384
_MAX_DIMENSIONS = 8
_DTYPE = re.compile(r"[<>|=]?([iuf][1248]|b1)")
_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"


def pack(value: Any) -> bytes:
    """A message. Arrays of numbers may stand anywhere in it."""
    packed: bytes = msgpack.packb(value, default=_written)
    return packed


def unpack(message: bytes | str) -> Any:
    """What a message says. Its arrays are read-only.

    Raises:
        ConfigError: it is not msgpack, or holds what is not text, numbers and arrays of numbers.
    """
    if isinstance(message, str):
        raise ConfigError("a text message, expected a binary one (msgpack)")
    parts = itertools.count(1)

    def counted[T](part: T) -> T:
        if next(parts) > _MAX_PARTS:
            raise ConfigError(f"more than {_MAX_PARTS} maps and lists in a message")
        return part

    try:
        return msgpack.unpackb(
            message,
            object_hook=lambda found: _read(counted(found)),
            list_hook=counted,
            max_map_len=_MAX_ITEMS,
            max_array_len=_MAX_ITEMS,
            max_str_len=_MAX_TEXT,
            max_ext_len=0,
        )
    except ConfigError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(f"a message of {len(message)} bytes is not msgpack: {reason}") from error


def _written(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray) or _DTYPE.fullmatch(value.dtype.str) is None:
        raise TypeError(f"{type(value).__name__}: neither text, a number nor an array of numbers")
    return {_ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def _read(found: dict[Any, Any]) -> Any:
    if _ARRAY in found:
        return _array(found)
    if _SCALAR in found:
        return found.get(b"data")
    return found


def _array(found: dict[Any, Any]) -> np.ndarray[Any, Any]:
    data, kind, shape = (found.get(name) for name in (b"data", b"dtype", b"shape"))
    if not isinstance(kind, str) or _DTYPE.fullmatch(kind) is None:
        raise ConfigError(f"an array of dtype {kind!r}, expected integers, floats or booleans")
    sizes = shape if isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS else [None]
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ConfigError(f"an array of shape {shape!r}, expected at most {_MAX_DIMENSIONS} sizes >= 0")
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise ConfigError(f"an array of dtype {kind!r}: numpy knows none") from error
    wanted = math.prod(sizes) * dtype.itemsize
    if not isinstance(data, bytes) or len(data) != wanted:
        got = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise ConfigError(f"an array of shape {shape} and dtype {kind} with {got}, expected {wanted} bytes")
    return np.frombuffer(data, dtype).reshape(sizes)
