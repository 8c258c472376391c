"""Published weights of a flow policy: what its files may have otherwise than its network.

A prefix of every name or none, parts beside each other, a tied tensor under its other name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from policy.flow.network import FlowNetwork
from recap.errors import ConfigError
from recap.training import safetensor_files
from recap.training.safetensor_files import Shape, Stored, fill, mismatch, shapes_of, weight_files

__all__ = ["check_weights", "differences", "load_weights", "shapes_of", "stored_tensors"]


def stored_tensors(kind: type[FlowNetwork], folder: Path) -> dict[str, Stored]:
    """{name in the network: where it is stored} of a folder in the layout of a family, from the headers of its files.

    Raises:
        ArtifactCorrupt: a file that cannot be read.
        ConfigError: no safetensors files of this family's name there.
    """
    layout = kind.layout
    found = safetensor_files.stored_tensors(
        weight_files(folder, layout.weights), lambda name: name.removeprefix(layout.prefix)
    )
    for other, name in kind.tied.items():
        if other in found:
            found.setdefault(name, found[other])
    return found


def differences(kind: type[FlowNetwork], wanted: Mapping[str, Shape], there: Mapping[str, Shape]) -> list[str]:
    """One line per tensor that is missing, unknown or of another shape, under its published name.

    Tensors of heads that recap does not have (FlowNetwork.unread) are neither missing nor unknown.
    """
    return safetensor_files.differences(wanted, there, prefix=kind.layout.prefix, unread=kind.unread)


def load_weights(network: FlowNetwork, folder: Path) -> None:
    """Fills the network, whose format and memory layout stay, from a folder of published weights.

    What published weights know nothing of (an embedded condition) keeps its own start.

    Raises:
        ArtifactCorrupt: a file that cannot be read.
        ConfigError: the tensors are not those of this network.
    """
    fill(network, check_weights(network, folder))


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
            mismatch(lines, where=folder, what=kind.family),
            hint=f"recap doctor --policy {kind.family} --checkpoint {folder}",
        )
    return {name: there[name] for name in wanted}
