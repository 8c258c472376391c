"""Identities say what content is, not how its bytes lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import canonical_json, digest_array, digest_tree, file_sha256, sha256_hex


def test_canonical_json_has_one_spelling() -> None:
    assert canonical_json({"b": (1, 2.5), "a": "\u00e9"}) == b'{"a":"\\u00e9","b":[1,2.5]}'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1.0, float("nan")]}, "value.a[1] is nan"),
        ({"a": {1: 2}}, "value.a: key 1 is int"),
        ([np.float32(1.0)], "value[0] is float32"),
        ({"x": object()}, "value.x is object"),
    ],
)
def test_what_json_cannot_say_is_refused_by_place(value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        canonical_json(value)
    assert expected in raised.value.message


def test_array_identity_counts_name_type_shape_and_values_only() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    same = digest_array("a", array)
    assert digest_array("a", np.asfortranarray(array)) == same
    assert digest_array("a", array.astype(">f4")) == same
    assert digest_array("a", np.repeat(array, 2, axis=1)[:, ::2]) == same
    others = [
        digest_array("b", array),
        digest_array("a", array.reshape(3, 2)),
        digest_array("a", array.astype(np.float64)),
        digest_array("a", array + 1),
        digest_array("a", array[:0]),
    ]
    assert len({same, *others}) == 6
    zeros = [np.zeros(4, dtype=kind) for kind in (np.uint8, np.int8, np.bool_)]
    assert len({digest_array("a", zero) for zero in zeros}) == 3
    with pytest.raises(ConfigError, match="Python objects"):
        digest_array("a", np.array([object()]))


def test_json_files_of_equal_content_have_one_identity(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1, "y": [2]}')
    (tmp_path / "b.json").write_text('{\n "y": [2],\n "x": 1}')
    assert digest_tree(tmp_path / "a.json") == digest_tree(tmp_path / "b.json")
    assert digest_tree(tmp_path / "a.json") == sha256_hex(canonical_json({"x": 1, "y": [2]}))
    assert file_sha256(tmp_path / "a.json") != file_sha256(tmp_path / "b.json")


def test_safetensors_identity_counts_tensors_and_metadata_not_their_order(tmp_path: Path) -> None:
    tensors = {"w": np.arange(4, dtype=np.float32), "b": np.ones((2, 2), dtype=np.int64)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"x": "1", "y": "2"})
    blob = save(tensors, metadata={"x": "1", "y": "2"})
    size = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + size])
    # The same tensors, laid out the other way round.
    first, second = blob[8 + size :][:32], blob[8 + size :][32:]
    names = sorted((name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"])
    header[names[0]]["data_offsets"] = [len(second), len(second) + len(first)]
    header[names[1]]["data_offsets"] = [0, len(second)]
    text = json.dumps(dict(reversed(header.items()))).encode()
    swapped = len(text).to_bytes(8, "little") + text + second + first
    (tmp_path / "b.safetensors").write_bytes(swapped)
    assert digest_tree(tmp_path / "a.safetensors") == digest_tree(tmp_path / "b.safetensors")

    save_file(tensors, tmp_path / "c.safetensors", metadata={"x": "1", "y": "3"})
    save_file({**tensors, "w": tensors["w"] + 1}, tmp_path / "d.safetensors", metadata={"x": "1", "y": "2"})
    save_file({"v": tensors["w"], "b": tensors["b"]}, tmp_path / "e.safetensors", metadata={"x": "1", "y": "2"})
    assert len({digest_tree(tmp_path / f"{name}.safetensors") for name in "acde"}) == 4


def test_numpy_files_are_identified_by_their_arrays(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.asfortranarray(array))
    np.save(tmp_path / "c.npy", array + 1)
    assert digest_tree(tmp_path / "a.npy") == digest_tree(tmp_path / "b.npy") != digest_tree(tmp_path / "c.npy")
    np.savez(tmp_path / "a.npz", x=array, y=array + 1)
    np.savez_compressed(tmp_path / "b.npz", y=array + 1, x=array)
    np.savez(tmp_path / "c.npz", x=array, z=array + 1)
    assert digest_tree(tmp_path / "a.npz") == digest_tree(tmp_path / "b.npz") != digest_tree(tmp_path / "c.npz")


@pytest.mark.parametrize("name", ["x.json", "x.safetensors", "x.npy", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"not what it says", b"\xff" * 40])
def test_a_file_that_is_not_what_its_suffix_says_is_corrupt(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match=name):
        digest_tree(tmp_path / name)


def test_a_tensor_outside_its_file_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": np.arange(64, dtype=np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactCorrupt, match="outside the file"):
        digest_tree(path)


def test_a_tree_is_its_relative_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "w.bin").write_bytes(b"abc")
    (tmp_path / "one" / "c.json").write_text('{"a": 1}')
    (tmp_path / "two" / "c.json").write_text('{"a":1}')
    same = digest_tree(tmp_path / "one")
    assert digest_tree(tmp_path / "two") == same
    (tmp_path / "two" / "sub" / "w.bin").rename(tmp_path / "two" / "w.bin")
    assert digest_tree(tmp_path / "two") != same


def test_links_and_absent_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="symbolic link"):
        digest_tree(tmp_path / "d")
    with pytest.raises(ConfigError, match="does not exist"):
        digest_tree(tmp_path / "nothing")
