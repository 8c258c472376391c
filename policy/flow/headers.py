"""Whether a folder of weights is what a family expects, by the headers of its files alone."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from policy.flow.bundle import read_info
from policy.flow.network import FlowNetwork
from policy.flow.sizes import NetworkSizes
from recap.errors import ArtifactCorrupt, ConfigError


def check_checkpoint(kind: type[FlowNetwork], published: NetworkSizes, folder: Path) -> tuple[str, list[str]]:
    """(what the folder is, one line per tensor that is missing, unknown or of another shape).

    A folder with recap.json is compared with the network it describes, any other with the published sizes. Tensors of
    heads that recap does not have (FlowNetwork.unread) are neither missing nor unknown.

    Raises:
        ArtifactCorrupt: recap.json or a file of weights that cannot be read.
        ConfigError: no safetensors files of this family's name there.
    """
    layout = kind.layout
    own = (folder / "recap.json").is_file()
    sizes = read_info(kind, folder).network if own else published
    stem = Path(layout.weights).stem
    files = sorted(
        path for path in folder.glob("*.safetensors") if path.stem == stem or fnmatch(path.stem, f"{stem}-*")
    )
    if not files:
        pickled = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        found = f"pickled weights ({', '.join(pickled[:3])})" if pickled else "no weights"
        raise ConfigError(
            f"{folder} holds {found}, expected {layout.weights} or its parts",
            hint="no pickle is loaded: convert them to safetensors where they were made" if pickled else "",
        )
    there: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as opened:
                there |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ArtifactCorrupt(f"{path}: {error}") from error
    with torch.device("meta"):
        network = kind(sizes)
    expected = {f"{layout.prefix}{name}": tuple(value.shape) for name, value in network.state_dict().items()}
    unread = tuple(f"{layout.prefix}{pattern}" for pattern in kind.unread)
    problems = [f"missing    {name} {list(expected[name])}" for name in sorted(expected.keys() - there.keys())]
    problems += [
        f"unknown    {name} {list(there[name])}"
        for name in sorted(there.keys() - expected.keys())
        if not any(fnmatch(name, pattern) for pattern in unread)
    ]
    problems += [
        f"misshapen  {name} {list(there[name])}, expected {list(expected[name])}"
        for name in sorted(expected.keys() & there.keys())
        if there[name] != expected[name]
    ]
    source = "a bundle of recap" if own else "published sizes"
    return f"{kind.family}, {source}, {len(there)} tensors in {len(files)} files", problems
