"""A trained value model as a folder: value.json names the family and describes it; what else lies there is its own.

Every family writes and reads value.json here, so that a folder that is not whole is refused in one voice. A family
whose knowledge is a few arrays needs no more than `write_arrays` and `read_arrays`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recap.errors import ArtifactCorrupt
from recap.hashing import canonical_json

FORMAT = 1
_FILE = "value.json"
_ARRAYS = "arrays.safetensors"


def fresh_bundle(path: Path) -> Path:
    """An empty folder at `path`; what a killed attempt left there is gone."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def write_description(path: Path, family: str, **facts: Any) -> None:
    """Writes value.json, last of all files: a folder that has it was written to its end. The caller commits it."""
    (path / _FILE).write_bytes(canonical_json({"format": FORMAT, "family": family, **facts}))


def is_whole(path: Path) -> bool:
    """Whether a bundle was written to its end."""
    return (path / _FILE).exists()


def read_description(path: Path, *, family: str | None = None) -> dict[str, Any]:
    """What value.json says.

    Args:
        path: the bundle folder.
        family: the only one that will do; None for any.

    Raises:
        ArtifactCorrupt: no readable value.json, of another format or family.
    """
    try:
        found: dict[str, Any] = json.loads((path / _FILE).read_bytes())
        said = (found["format"], found["family"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactCorrupt(f"value bundle {path}: {_FILE} does not name a family ({error!r})") from error
    if said[0] != FORMAT or family not in (None, said[1]):
        raise ArtifactCorrupt(f"value bundle {path}: {said[1]} {said[0]}, expected {family or 'format'} {FORMAT}")
    return found


def check_tensors(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises ArtifactCorrupt, with names, unless `found` has just the names and shapes of `expected`."""
    wrong = sorted(set(found) ^ set(expected)) or sorted(
        name for name, value in expected.items() if value.shape != found[name].shape
    )
    if wrong:
        raise ArtifactCorrupt(
            f"value bundle {path}: {len(wrong)} of {len(expected)} tensors are missing, unknown or of another shape: "
            f"{', '.join(wrong[:3])}"
        )


def write_arrays(path: Path, family: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """A fresh bundle at `path` that holds these arrays. The caller commits it."""
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, fresh_bundle(path) / _ARRAYS)
    write_description(path, family)


def read_arrays(path: Path, family: str, *names: str) -> dict[str, NDArray[Any]]:
    """What `write_arrays` wrote; ArtifactCorrupt unless it is whole, of that family and has exactly these names."""
    read_description(path, family=family)
    try:
        arrays: dict[str, NDArray[Any]] = load_file(path / _ARRAYS)
    except (OSError, SafetensorError) as error:
        raise ArtifactCorrupt(f"value bundle {path}: {_ARRAYS}: {error}") from error
    if set(arrays) != set(names):
        raise ArtifactCorrupt(f"value bundle {path}: {_ARRAYS} holds {sorted(arrays)}, expected {sorted(names)}")
    return arrays
