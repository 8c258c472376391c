"""Messages: arrays come back as they were, what openpi-client writes is read, and nothing else is."""

from __future__ import annotations

import pickle
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.support.serving import packed, unpacked

from policy.serving.codec import pack, unpack
from recap.errors import ConfigError

numbers = arrays.arrays(
    st.sampled_from(["f4", "<f8", ">i2", "u1", "b1", "f2", "i8"]),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0),
)


@given(value=st.dictionaries(st.text(max_size=8), numbers | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8)))
def test_both_sides_read_each_other(value: dict[str, Any]) -> None:
    for there in (unpack(packed(value)), unpacked(pack(value)), unpack(pack(value))):
        assert there.keys() == value.keys()
        for name, sent in value.items():
            np.testing.assert_array_equal(there[name], sent)
            if isinstance(sent, np.ndarray):
                assert there[name].dtype == sent.dtype


def test_numbers_of_numpy_are_numbers() -> None:
    assert unpack(packed({"guidance": np.float32(1.5), "noise_seed": np.int64(7)})) == {
        "guidance": 1.5,
        "noise_seed": 7,
    }


def array(**changes: Any) -> bytes:
    whole = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    message: bytes = msgpack.packb({"a": whole | {name.encode(): value for name, value in changes.items()}})
    return message


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\x92\x01", "not msgpack"),
        (b"\x01\x02", "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),
        (b"\x91" * 5000, "not msgpack"),
        (msgpack.packb({(1, 2): 3}), "not msgpack"),
        (msgpack.packb(list(range(300))), "not msgpack"),
        (msgpack.packb("x" * 20_000), "not msgpack"),
        (msgpack.packb(msgpack.ExtType(5, b"abc")), "not msgpack"),
        (b"\xa1\xff", "not msgpack"),
        (pickle.dumps({"a": 1}), "not msgpack"),
        ("text", "a text message"),
        (array(dtype="|O"), "an array of dtype '|O'"),
        (array(dtype="<f4,<f4"), "an array of dtype"),
        (array(dtype="<c8"), "an array of dtype"),
        (array(dtype="<M8"), "an array of dtype"),
        (array(dtype="<f1"), "numpy knows none"),
        (array(dtype=None), "an array of dtype None"),
        (array(shape=[3]), r"with 8 bytes, expected 12 bytes"),
        (array(shape=[-1]), "expected at most 8 sizes >= 0"),
        (array(shape=[2**40, 2**40]), "expected .* bytes"),
        (array(shape=[1] * 9), "expected at most 8 sizes"),
        (array(shape="2"), "an array of shape '2'"),
        (array(data="12345678"), "with str, expected 8 bytes"),
        (msgpack.packb([[{}] * 200] * 200), "more than 1024 maps and lists"),
        (msgpack.packb([[[]] * 200] * 200), "more than 1024 maps and lists"),
    ],
)
def test_anything_else_is_refused(message: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("|", r"\|")):
        unpack(message)


@given(message=st.binary(max_size=200))
def test_noise_is_read_or_refused(message: bytes) -> None:
    with suppress(ConfigError):
        unpack(message)


def test_objects_are_not_written() -> None:
    with pytest.raises(TypeError, match="neither text, a number nor an array of numbers"):
        pack({"a": np.array([object()])})
    with pytest.raises(TypeError, match="neither text"):
        pack({"a": object()})
