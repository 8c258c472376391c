"""The policy bundle: a folder that recap loads, and the library that a family comes from.

recap.json        prompt, condition, guidance, noise scale, chunk, cameras, names, scaling, versions
*.safetensors     weights under the published names of the family
...               what the other library reads (Layout.files)
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from policy.conditioning import TEXTS
from policy.flow.info import BundleInfo, Layout
from policy.flow.lerobot.files import PREFIX, WEIGHTS
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats, Scaling
from policy.flow.tokenizer import FILE_NAME, LOCAL, FileTokenizer
from policy.flow.weights import differences, shapes_of
from policy.models import Acting
from recap.config import from_json, to_json
from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import canonical_json, digest_tree

FORMAT = 4
_OLDER: Mapping[int, Mapping[str, str]] = {2: {"condition": "tag"}, 3: {}}
"""Formats that are read, never written: {format: {field: its name then}}. They know no noise scale: it was 1."""
_LIBRARIES = ("torch", "lerobot", "numpy", "recap-rl")


def write_bundle(path: Path, network: FlowNetwork, info: BundleInfo, layout: Layout | None = None) -> str:
    """Writes the folder and returns its policy id. Nothing is renamed: the caller commits the folder.

    With a layout other than the family's, what another library loads; `read_bundle` knows that of LeRobot.
    """
    path.mkdir(parents=True, exist_ok=True)
    layout = layout or network.layout
    weights = network.state_dict()
    weights |= layout.beside(weights)
    save_file(
        {f"{layout.prefix}{name}": value.detach().contiguous() for name, value in weights.items()},
        path / layout.weights,
        metadata={"format": "pt"},
    )
    for name, content in layout.files(info).items():
        (path / name).parent.mkdir(exist_ok=True)
        if name.endswith(".safetensors"):
            save_file({key: torch.from_numpy(value) for key, value in content.items()}, path / name)
        else:
            path.joinpath(name).write_bytes(content if isinstance(content, bytes) else canonical_json(content))
    path.joinpath("recap.json").write_bytes(canonical_json(_description(network.family, info)))
    return digest_tree(path)


def with_acting(kind: type[FlowNetwork], source: Path, out: Path, acting: Acting) -> str:
    """Writes to `out` the bundle `source` that acts as asked; returns the policy id. `out` must not exist.

    Only these numbers change, in recap.json and where else the layout has them; all other files are hard-linked, or
    copied where that is impossible. How a bundle acts already gives its id again. The caller commits the folder.

    Raises:
        ArtifactCorrupt: `source` is not a bundle.
        ConfigError: a number is negative or not finite, guidance is not 1 for a policy without condition, which has
            nothing to mix, or `source` was exported.
    """
    info = read_info(kind, source)
    numbers = asdict(acting)
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0):
            raise ConfigError(f"{name} {number}, expected a finite number >= 0")
    if acting.guidance != 1 and not info.condition:
        raise ConfigError(
            f"policy bundle {source} was trained without advantage conditions: guidance {acting.guidance}, expected 1",
            hint="train it on ConditionedBatches with condition=POSITIVE",
        )
    return _changed(kind, source, out, info, replace(info, **numbers))


def link_folder(source: Path, out: Path, *, other: Collection[str] = ()) -> None:
    """Makes `out`, a folder of the same files as the flat folder `source` but for the names in `other`.

    Hard links cost no space and no time; a bundle is never written again once it is whole. Copies where the two
    folders lie on different file systems, or the file system knows no links.
    """
    out.mkdir(parents=True)
    for file in source.iterdir():
        if file.name in other:
            continue
        try:
            os.link(file, out / file.name)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            shutil.copyfile(file, out / file.name)


def _description(family: str, info: BundleInfo) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "family": family,
        "network": to_json(info.network),
        "task": info.task,
        "condition": info.condition,
        "guidance": info.guidance,
        "noise_scale": info.noise_scale,
        "chunk": info.chunk,
        "execute": info.execute,
        "euler_steps": info.euler_steps,
        "prompt_tokens": info.prompt_tokens,
        # Absent of the local vocabulary, which older bundles do not name.
        **({} if info.tokenizer is LOCAL else {"tokenizer": FILE_NAME}),
        "cameras": list(info.cameras),
        "state_names": list(info.state_names),
        "action_names": list(info.action_names),
        "relative_dims": list(info.relative_dims),
        "stats": {"state": _scaling_json(info.stats.state), "action": _scaling_json(info.stats.action)},
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def read_info(kind: type[FlowNetwork], path: Path) -> BundleInfo:
    """What the bundle says of itself; no weights are read beyond what its identity needs.

    Raises:
        ArtifactCorrupt: recap.json is missing, of another format or of another family.
    """
    try:
        raw = json.loads((path / "recap.json").read_bytes())
    except (OSError, json.JSONDecodeError) as error:
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json: {error}") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json: expected an object with the number of its format")
    if (renamed := _OLDER.get(raw["format"])) is not None and set(renamed.values()) <= set(raw):
        raw |= {name: raw[old] for name, old in renamed.items()} | {"format": FORMAT, "noise_scale": 1.0}
    if raw.get("format") != FORMAT or raw.get("family") != kind.family:
        raise ArtifactCorrupt(
            f"policy bundle {path}: family {raw.get('family')} format {raw.get('format')}, "
            f"expected {kind.family} {FORMAT}",
            hint="train it again with this version of recap" if raw.get("family") == kind.family else "",
        )
    try:
        stats = {
            name: kind.scaling.of(**raw["stats"][name], where=f"{path}: stats.{name}") for name in ("state", "action")
        }
        found = BundleInfo(
            network=from_json(kind.sizes_type, raw["network"]),
            task=raw["task"],
            chunk=raw["chunk"],
            execute=raw["execute"],
            euler_steps=raw["euler_steps"],
            prompt_tokens=raw["prompt_tokens"],
            cameras=tuple(raw["cameras"]),
            state_names=tuple(raw["state_names"]),
            action_names=tuple(raw["action_names"]),
            relative_dims=tuple(raw["relative_dims"]),
            stats=PolicyStats(**stats),
            condition=raw["condition"],
            guidance=raw["guidance"],
            noise_scale=raw["noise_scale"],
            tokenizer=FileTokenizer(path / FILE_NAME) if "tokenizer" in raw else LOCAL,
            policy_id=digest_tree(path),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json: not what a training writes ({error!r})") from error
    counts = {name: raw[name] for name in ("chunk", "execute", "euler_steps", "prompt_tokens")}
    if wrong := {name: count for name, count in counts.items() if type(count) is not int or count < 1}:
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json: {wrong}, expected whole numbers from 1")
    if not set(found.relative_dims) <= set(range(len(found.action_names))):
        raise ArtifactCorrupt(
            f"policy bundle {path}: recap.json: relative_dims {raw['relative_dims']}, expected some of "
            f"0..{len(found.action_names) - 1}"
        )
    for what, names, scale in (
        ("state", found.state_names, found.stats.state),
        ("action", found.action_names, found.stats.action),
    ):
        if len(scale.q01) != len(names):
            raise ArtifactCorrupt(
                f"policy bundle {path}: recap.json: figures of {len(scale.q01)} numbers of the {what}, expected "
                f"{len(names)}"
            )
    return found


def read_bundle[N: FlowNetwork](kind: type[N], path: Path) -> tuple[N, BundleInfo]:
    """Network with its weights, and info.

    Raises:
        ArtifactCorrupt: a file is missing, or the weights are not those of the network the bundle describes.
    """
    info, layout = read_info(kind, path), kind.layout
    name, prefix = (WEIGHTS, PREFIX) if _is_export(kind, path) else (layout.weights, layout.prefix)
    try:
        weights = load_file(path / name)
    except OSError as error:
        raise ArtifactCorrupt(f"policy bundle {path}: {name}: {error}") from error
    with torch.device("meta"):
        network = kind(info.network, info.tokenizer)
    weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    there = {name: tuple(value.shape) for name, value in weights.items()}
    if wrong := differences(kind, shapes_of(network), there):
        raise ArtifactCorrupt(
            f"policy bundle {path}: {len(wrong)} weights do not fit the network: "
            f"{'; '.join(' '.join(line.split()) for line in wrong[:3])}"
        )
    network.load_state_dict({name: weights[name] for name in network.state_dict()}, assign=True)
    return network, info


def _is_export(kind: type[FlowNetwork], path: Path) -> bool:
    return (path / WEIGHTS).is_file() and not (path / kind.layout.weights).is_file()


def _scaling_json(scaling: Scaling) -> dict[str, list[float]]:
    return {"q01": scaling.q01.tolist(), "q99": scaling.q99.tolist()}


def with_condition(kind: type[FlowNetwork], source: Path, out: Path, words: str) -> str:
    """Writes to `out` the bundle `source` that hears other words; returns the policy id. `out` must not exist.

    Without words there is nothing to mix, and guidance is 1. Everything else stays, linked as by `with_acting`.

    Raises:
        ArtifactCorrupt: `source` is not a bundle.
        ConfigError: words that no training has, a policy that was trained without any, or one that was exported.
    """
    if words not in TEXTS:
        raise ConfigError(f"condition {words!r}: expected one of {', '.join(map(repr, TEXTS))}")
    info = read_info(kind, source)
    if words and not info.condition:
        raise ConfigError(f"policy bundle {source} was trained without advantage conditions: {words!r} means nothing")
    heard = replace(info, condition=words, guidance=info.guidance if words else 1.0)
    return _changed(kind, source, out, info, heard)


def _changed(kind: type[FlowNetwork], source: Path, out: Path, was: BundleInfo, info: BundleInfo) -> str:
    """Writes to `out` the bundle `source`, which says `was`, with what `info` says of acting; returns its policy id.

    All three fields are written whichever changed: recap.json is of today's format then, and older ones lack some.
    """
    # Those of an export are in files that the family's layout does not know, the words even in its tokenizer.
    if _is_export(kind, source) or any(file.is_dir() for file in source.iterdir()):
        raise ConfigError(
            f"policy bundle {source}: an exported folder: expected a bundle as a training writes it",
            hint="change the bundle that it was exported from, and export that",
        )
    acting = {name: getattr(info, name) for name in ("condition", "guidance", "noise_scale")}
    described = json.loads((source / "recap.json").read_bytes()) | acting | {"format": FORMAT}
    written = {"recap.json": canonical_json(described)}
    before, after = (_json_files(kind, one) for one in (was, info))
    for name, content in after.items():
        changes = {key: one for key, one in content.items() if key in acting or one != before[name].get(key)}
        if changes:
            written[name] = canonical_json(json.loads((source / name).read_bytes()) | changes)
    link_folder(source, out, other=written)
    for name, raw in written.items():
        (out / name).write_bytes(raw)
    return digest_tree(out)


def _json_files(kind: type[FlowNetwork], info: BundleInfo) -> dict[str, Any]:
    files = kind.layout.files(info).items()
    return {name: one for name, one in files if name.endswith(".json") and not isinstance(one, bytes)}
