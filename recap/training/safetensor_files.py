"""Tensors in safetensors files against those that a network wants: names and shapes first, then their numbers.

Nothing is loaded partly, and no pickle is loaded at all. Knows no network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from recap.errors import ArtifactCorrupt, ConfigError

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One tensor of a file."""

    file: Path
    name: str
    """As the file says it."""
    shape: Shape


def weight_files(folder: Path, weights: str) -> list[Path]:
    """The one file `weights` of a folder, or all parts of one set (NAME-00001-of-00002 and so on).

    Raises:
        ConfigError: neither is there, or files of two checkpoints are.
    """
    whole = folder / weights
    named = {path: re.fullmatch(rf"{whole.stem}-(\d+)-of-(\d+)", path.stem) for path in folder.glob("*.safetensors")}
    parts = {path: match for path, match in sorted(named.items()) if match is not None}
    if whole.is_file() and not parts:
        return [whole]
    if not whole.is_file() and not parts:
        pickled = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        found = f"pickled weights ({', '.join(pickled[:3])})" if pickled else "no weights"
        raise ConfigError(
            f"{folder} holds {found}, expected {weights} or its parts",
            hint="no pickle is loaded: convert them to safetensors where they were made"
            if pickled
            else "of a model hub, name OWNER/NAME, or hf download OWNER/NAME --local-dir DIR and name DIR",
        )
    counts = {int(match[2]) for match in parts.values()}
    if (
        whole.is_file()
        or len(counts) > 1
        or sorted(int(match[1]) for match in parts.values()) != [*range(1, min(counts) + 1)]
    ):
        names = [path.name for path in ([whole] if whole.is_file() else []) + [*parts]]
        raise ConfigError(
            f"{folder} holds {', '.join(names[:4])}: expected {weights} alone, or every part of one set",
            hint="keep the files of one checkpoint in one folder",
        )
    return [*parts]


def stored_tensors(files: Iterable[Path], own: Callable[[str], str] = str) -> dict[str, Stored]:
    """{name in the network: where it is stored}, from the headers of files; `own` translates their names.

    Raises:
        ArtifactCorrupt: a file that cannot be read.
        ConfigError: two tensors of one name.
    """
    found: dict[str, Stored] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as opened:
                shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ArtifactCorrupt(f"{path}: {error}") from error
        for name, shape in shapes.items():
            if (known := found.get(own(name))) is not None:
                raise ConfigError(
                    f"{path.parent}: {known.file.name} and {path.name} both hold {own(name)}, expected one of them",
                    hint="keep the files of one checkpoint in one folder",
                )
            found[own(name)] = Stored(file=path, name=name, shape=shape)
    return found


def shapes_of(module: nn.Module) -> dict[str, Shape]:
    """{name: shape} of everything that a state dict holds."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def differences(
    wanted: Mapping[str, Shape], there: Mapping[str, Shape], *, prefix: str = "", unread: Iterable[str] = ()
) -> list[str]:
    """One line per tensor that is missing, unknown or of another shape, with `prefix` before its name.

    Tensors that match a pattern of `unread` are not unknown.
    """
    patterns = tuple(unread)
    lines = [f"missing    {prefix}{name} {list(wanted[name])}" for name in sorted(wanted.keys() - there.keys())]
    lines += [
        f"unknown    {prefix}{name} {list(there[name])}"
        for name in sorted(there.keys() - wanted.keys())
        if not any(fnmatch(name, pattern) for pattern in patterns)
    ]
    return lines + [
        f"misshapen  {prefix}{name} {list(there[name])}, expected {list(wanted[name])}"
        for name in sorted(wanted.keys() & there.keys())
        if there[name] != wanted[name]
    ]


def mismatch(lines: list[str], *, where: Path, what: str, named: int = 3) -> str:
    """What to say of differences, so many of them by name."""
    said = "; ".join(" ".join(line.split()) for line in lines[:named])
    more = f"; and {len(lines) - named} more" if len(lines) > named else ""
    return f"{where} does not hold the weights of {what} at these sizes: {len(lines)} tensors, {said}{more}"


def fill(module: nn.Module, there: Mapping[str, Stored]) -> None:
    """Copies the numbers of stored tensors into those of the same names; format and memory layout stay."""
    own, by_file = module.state_dict(), dict[Path, list[str]]()
    for name, stored in there.items():
        by_file.setdefault(stored.file, []).append(name)
    with torch.no_grad():
        for file, names in by_file.items():
            with safe_open(file, framework="pt") as opened:
                for name in names:
                    own[name].copy_(opened.get_tensor(there[name].name))
