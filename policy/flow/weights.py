"""Tensors in safetensors files against those that a network wants: names and shapes first, then their numbers.

Owns what published files may have otherwise: a prefix of every name or none, parts beside each other, a tied tensor
under its other name. Nothing is loaded partly, and no pickle is loaded at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from policy.flow.network import FlowNetwork
from recap.errors import ArtifactCorrupt, ConfigError

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One tensor of a file."""

    file: Path
    name: str
    """As the file says it."""
    shape: Shape


def stored_tensors(kind: type[FlowNetwork], folder: Path) -> dict[str, Stored]:
    """{name in the network: where it is stored} of a folder in the layout of a family, from the headers of its files.

    Raises:
        ArtifactCorrupt: a file that cannot be read.
        ConfigError: no safetensors files of this family's name there.
    """
    layout = kind.layout
    found: dict[str, Stored] = {}
    for path in _files(layout.weights, folder):
        try:
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    own = name.removeprefix(layout.prefix)
                    if own in found:
                        raise ConfigError(
                            f"{folder}: {found[own].file.name} and {path.name} both hold {own}, expected one of them",
                            hint="keep the files of one checkpoint in one folder",
                        )
                    shape = tuple(opened.get_slice(name).get_shape())
                    found[own] = Stored(file=path, name=name, shape=shape)
        except (OSError, SafetensorError) as error:
            raise ArtifactCorrupt(f"{path}: {error}") from error
    for other, name in kind.tied.items():
        if other in found:
            found.setdefault(name, found[other])
    return found


def differences(kind: type[FlowNetwork], wanted: Mapping[str, Shape], there: Mapping[str, Shape]) -> list[str]:
    """One line per tensor that is missing, unknown or of another shape, under its published name.

    Tensors of heads that recap does not have (FlowNetwork.unread) are neither missing nor unknown.
    """
    prefix = kind.layout.prefix
    lines = [f"missing    {prefix}{name} {list(wanted[name])}" for name in sorted(wanted.keys() - there.keys())]
    lines += [
        f"unknown    {prefix}{name} {list(there[name])}"
        for name in sorted(there.keys() - wanted.keys())
        if not any(fnmatch(name, pattern) for pattern in kind.unread)
    ]
    return lines + [
        f"misshapen  {prefix}{name} {list(there[name])}, expected {list(wanted[name])}"
        for name in sorted(wanted.keys() & there.keys())
        if there[name] != wanted[name]
    ]


def shapes_of(network: FlowNetwork) -> dict[str, Shape]:
    """{name: shape} of every tensor that a bundle of this network holds."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def load_weights(network: FlowNetwork, folder: Path) -> None:
    """Fills the network, whose format and memory layout stay, from a folder of published weights.

    What published weights know nothing of (an embedded condition) keeps its own start.

    Raises:
        ArtifactCorrupt: a file that cannot be read.
        ConfigError: the tensors are not those of this network.
    """
    there = check_weights(network, folder)
    own = network.state_dict()
    by_file: dict[Path, list[tuple[str, str]]] = {}
    for name, stored in there.items():
        by_file.setdefault(stored.file, []).append((name, stored.name))
    with torch.no_grad():
        for file, names in by_file.items():
            with safe_open(file, framework="pt") as opened:
                for name, stored_name in names:
                    own[name].copy_(opened.get_tensor(stored_name))


def check_weights(network: FlowNetwork, folder: Path) -> dict[str, Stored]:
    """Where each tensor of the network is stored, from headers alone; the network may be on the meta device.

    Raises:
        ArtifactCorrupt: a file that cannot be read.
        ConfigError: the tensors are not those of this network.
    """
    kind = type(network)
    there = stored_tensors(kind, folder)
    wanted = {name: shape for name, shape in shapes_of(network).items() if not name.startswith("condition.")}
    if lines := differences(kind, wanted, {name: stored.shape for name, stored in there.items()}):
        raise ConfigError(
            f"{folder} does not hold the weights of {kind.family} at these sizes: {len(lines)} tensors, "
            f"{'; '.join(' '.join(line.split()) for line in lines[:3])}",
            hint=f"recap doctor --policy {kind.family} --checkpoint {folder}",
        )
    return {name: there[name] for name in wanted}


def _files(weights: str, folder: Path) -> list[Path]:
    """The one file of the weights, or all parts of one set (NAME-00001-of-00002 and so on)."""
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
            hint="no pickle is loaded: convert them to safetensors where they were made" if pickled else "",
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
