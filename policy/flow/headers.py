"""Whether a folder of weights is what a family expects, by the headers of its files alone."""

from __future__ import annotations

from pathlib import Path

import torch

from policy.flow.bundle import read_info
from policy.flow.network import FlowNetwork
from policy.flow.sizes import NetworkSizes
from policy.flow.weights import differences, shapes_of, stored_tensors


def check_checkpoint(kind: type[FlowNetwork], published: NetworkSizes, folder: Path) -> tuple[str, list[str]]:
    """(what the folder is, one line per tensor that is missing, unknown or of another shape).

    A folder with recap.json is compared with the network it describes, any other with the published sizes.

    Raises:
        ArtifactCorrupt: recap.json or a file of weights that cannot be read.
        ConfigError: no safetensors files of this family's name there.
    """
    own = (folder / "recap.json").is_file()
    sizes = read_info(kind, folder).network if own else published
    there = stored_tensors(kind, folder)
    with torch.device("meta"):
        network = kind(sizes)
    problems = differences(kind, shapes_of(network), {name: stored.shape for name, stored in there.items()})
    source = "a bundle of recap" if own else "published sizes"
    files = len({stored.file for stored in there.values()})
    return f"{kind.family}, {source}, {len(there)} tensors in {files} files", problems
