"""Identities: sha256 of what a value, an array or a file *says*, not of how its bytes happen to lie.

Two JSON files that differ in spacing, or two safetensors files that differ in tensor order, have one identity.
Integrity (are these the very bytes that were written) is `file_sha256`. It must not know what the content means.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.errors import ArtifactCorrupt, ConfigError

if TYPE_CHECKING:
    # numpy costs 0.1 s to import; only array files need it.
    from numpy.typing import NDArray

_PIECE = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value: sorted keys, no spaces, ASCII.

    Raises:
        ConfigError: names the place of what is not plain JSON: a NaN, a key that is not text, an array.
    """
    return _spell(plain_json(value))


def plain_json(value: Any, *, where: str = "value") -> Any:
    """`value` with tuples as lists and text enums as text; refuses what JSON cannot say exactly.

    Raises:
        ConfigError: names the place.
    """
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}: JSON holds finite numbers only")
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where}: key {key!r} is {type(key).__name__}, JSON keys are text")
        return {str(key): plain_json(inner, where=f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(inner, where=f"{where}[{i}]") for i, inner in enumerate(value)]
    raise ConfigError(f"{where} is {type(value).__name__}: expected None, bool, int, float, str, list or mapping")


def sha256_hex(content: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 (hex) of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_array(name: str, array: NDArray[Any]) -> str:
    """Identity of a named array: name, dtype, shape and values; memory order and byte order do not count.

    Raises:
        ConfigError: an array of Python objects, which has no bytes of its own.
    """
    import numpy as np

    if array.dtype.hasobject:
        raise ConfigError(f"array '{name}' holds Python objects: expected numbers")
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    digest = hashlib.sha256(_spell(["array", name, little.dtype.str, list(array.shape)]))
    if little.size:
        digest.update(memoryview(little).cast("B"))
    return digest.hexdigest()


def digest_tree(path: Path, *, known: Mapping[Path, str] | None = None) -> str:
    """Identity of the logical content of a file, or of a directory: relative names and identities of its files.

    Args:
        path: a file or a directory without symbolic links.
        known: file_sha256 of files that were already read, to spare a second reading.

    Raises:
        ArtifactCorrupt: a file cannot be read as what its suffix says.
        ConfigError: a symbolic link, or nothing there.
    """
    if path.is_symlink():
        raise ConfigError(f"{path} is a symbolic link: expected a file or a directory of files")
    if path.is_file():
        return _digest_file(path, known or {})
    if not path.is_dir():
        raise ConfigError(f"{path} does not exist: nothing to identify")
    entries = [[file.relative_to(path).as_posix(), _digest_file(file, known or {})] for file in files_under(path)]
    return sha256_hex(_spell(["tree", entries]))


def files_under(path: Path) -> list[Path]:
    """Every file below a directory, sorted by its relative path.

    Raises:
        ConfigError: a symbolic link, which could lead out of the directory.
    """
    found = []
    for folder, folders, names in path.walk():
        for name in (*folders, *names):
            if (folder / name).is_symlink():
                raise ConfigError(f"{folder / name} is a symbolic link: expected plain files")
        found += [folder / name for name in names]
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def _spell(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _digest_file(path: Path, known: Mapping[Path, str]) -> str:
    try:
        if path.suffix == ".json":
            # A foreign file may hold NaN: Python writes and reads it, and two such files are still equal or not.
            return sha256_hex(_spell(json.loads(path.read_bytes())))
        if path.suffix == ".safetensors":
            return _digest_safetensors(path)
        if path.suffix in (".npy", ".npz"):
            return _digest_numpy(path)
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise ArtifactCorrupt(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    return known.get(path) or file_sha256(path)


def _digest_safetensors(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if header_size > size - 8:
            raise ValueError(f"header of {header_size} bytes in a file of {size}")
        header = json.loads(file.read(header_size))
        metadata = header.pop("__metadata__", {})
        digest = hashlib.sha256(_spell(["safetensors", metadata]))
        for name in sorted(header):
            entry = header[name]
            begin, end = (8 + header_size + offset for offset in entry["data_offsets"])
            if not 8 + header_size <= begin <= end <= size:
                raise ValueError(f"tensor '{name}' lies outside the file ({size} bytes)")
            digest.update(_spell([name, entry["dtype"], entry["shape"], end - begin]))
            file.seek(begin)
            while begin < end:
                piece = file.read(min(_PIECE, end - begin))
                digest.update(piece)
                begin += len(piece)
    return digest.hexdigest()


def _digest_numpy(path: Path) -> str:
    import zipfile

    import numpy as np

    if path.suffix == ".npy":
        return digest_array("", np.load(path, mmap_mode="r", allow_pickle=False))
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return sha256_hex(_spell(["npz", [digest_array(name, arrays[name]) for name in sorted(arrays.files)]]))
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
