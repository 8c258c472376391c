"""The policy bundle: a folder that LeRobot loads as a pretrained policy, and recap without LeRobot.

    config.json                    LeRobot policy config of type recap_pi05, all sizes inside
    model.safetensors              weights under LeRobot's names
    policy_preprocessor.json ...   LeRobot processors with the statistics they need
    policy_postprocessor.json ...
    tokenizer.json                 the prompt's tokens, for the `tokenizers` library
    recap.json                     prompt, condition, guidance, noise scale, chunk, cameras, names, scaling, versions

The JSON files are written here rather than by LeRobot's own savers, because importing those costs seconds; a contract
test loads the folder with LeRobot, saves it again with LeRobot, and compares.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from policy.conditioning import TEXTS
from policy.models import Acting
from policy.models.pi05.lerobot_files import config_json, postprocessor_files, preprocessor_files
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import tokenizer_json
from policy.models.pi05.scaling import PolicyStats, Scaling
from policy.models.pi05.sizes import NetworkSizes
from recap.config import from_json, to_json
from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import canonical_json, digest_tree

FORMAT = 4
_OLDER: Mapping[int, Mapping[str, str]] = {2: {"condition": "tag"}, 3: {}}
"""Formats that are read, never written: {format: {field: its name then}}. They know no noise scale: it was 1."""
PROMPT_SEPARATOR = "; "
_WEIGHTS = "model.safetensors"
_LIBRARIES = ("torch", "lerobot", "numpy", "recap-rl")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BundleInfo:
    """What a bundle says of itself beside its weights."""

    network: NetworkSizes
    task: str
    """Prompt it was trained on, in words; several are divided by PROMPT_SEPARATOR. It acts on the observation's."""
    chunk: int
    execute: int
    euler_steps: int
    prompt_tokens: int
    cameras: tuple[str, ...]
    """In the order of the image tokens."""
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    relative_dims: tuple[int, ...]
    """Action dimensions predicted relative to the state."""
    stats: PolicyStats
    condition: str = ""
    """Words of the advantage condition it acts with (policy.conditioning.POSITIVE), or "": none."""
    guidance: float = 1.0
    """beta: 1 acts by the conditioned flow alone, otherwise by unconditioned + beta (conditioned - unconditioned)."""
    noise_scale: float = 1.0
    """Factor on the standard normal noise that the flow starts from when acting."""
    policy_id: str = ""
    """Identity of the folder's logical content; known once it is written."""


def write_bundle(path: Path, network: Pi05Network, info: BundleInfo) -> str:
    """Writes the folder and returns its policy id. Nothing is renamed: the caller commits the folder."""
    path.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"model.{name}": value.detach().contiguous() for name, value in network.state_dict().items()},
        path / _WEIGHTS,
        metadata={"format": "pt"},
    )
    _write_json(path / "config.json", config_json(info))
    for files in (preprocessor_files(info), postprocessor_files(info)):
        for name, content in files.items():
            if isinstance(content, Mapping) and name.endswith(".safetensors"):
                save_file({key: torch.from_numpy(value) for key, value in content.items()}, path / name)
            else:
                _write_json(path / name, content)
    _write_json(path / "tokenizer.json", tokenizer_json())
    _write_json(path / "recap.json", _description(info))
    return digest_tree(path)


def with_acting(source: Path, out: Path, acting: Acting) -> str:
    """Writes to `out` the bundle `source` that acts as asked; returns the policy id. `out` must not exist.

    Only these numbers change, in recap.json and in LeRobot's config.json; all other files are hard-linked, or copied
    where that is impossible. How a bundle acts already gives its id again. The caller commits the folder.

    Raises:
        ArtifactCorrupt: `source` is not a bundle.
        ConfigError: a number is negative or not finite, or guidance is not 1 for a policy without condition, which has
            nothing to mix.
    """
    info = read_info(source)
    numbers = asdict(acting)
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0):
            raise ConfigError(f"{name} {number}, expected a finite number >= 0")
    if acting.guidance != 1 and not info.condition:
        raise ConfigError(
            f"policy bundle {source} was trained without advantage conditions: guidance {acting.guidance}, expected 1",
            hint="train it on ConditionedBatches with condition=POSITIVE",
        )
    return _changed(source, out, replace(info, **numbers))


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


def _description(info: BundleInfo) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "family": "pi05",
        "network": to_json(info.network),
        "task": info.task,
        "condition": info.condition,
        "guidance": info.guidance,
        "noise_scale": info.noise_scale,
        "chunk": info.chunk,
        "execute": info.execute,
        "euler_steps": info.euler_steps,
        "prompt_tokens": info.prompt_tokens,
        "cameras": list(info.cameras),
        "state_names": list(info.state_names),
        "action_names": list(info.action_names),
        "relative_dims": list(info.relative_dims),
        "stats": {"state": _scaling_json(info.stats.state), "action": _scaling_json(info.stats.action)},
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def read_info(path: Path) -> BundleInfo:
    """What the bundle says of itself; no weights are read beyond what its identity needs.

    Raises:
        ArtifactCorrupt: recap.json is missing, of another format or of another family.
    """
    try:
        raw = json.loads((path / "recap.json").read_bytes())
    except (OSError, json.JSONDecodeError) as error:
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json: {error}") from error
    if (renamed := _OLDER.get(raw.get("format"))) is not None and set(renamed.values()) <= set(raw):
        raw |= {name: raw[old] for name, old in renamed.items()} | {"format": FORMAT, "noise_scale": 1.0}
    if raw.get("format") != FORMAT or raw.get("family") != "pi05":
        raise ArtifactCorrupt(
            f"policy bundle {path}: family {raw.get('family')} format {raw.get('format')}, expected pi05 {FORMAT}",
            hint="train it again with this version of recap",
        )
    stats = {name: Scaling.of(**raw["stats"][name], where=f"{path}: stats.{name}") for name in ("state", "action")}
    return BundleInfo(
        network=from_json(NetworkSizes, raw["network"]),
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
        policy_id=digest_tree(path),
    )


def read_bundle(path: Path) -> tuple[Pi05Network, BundleInfo]:
    """Network with its weights, and info.

    Raises:
        ArtifactCorrupt: a file is missing, or the weights are not those of the network the bundle describes.
    """
    info = read_info(path)
    try:
        weights = load_file(path / _WEIGHTS)
    except OSError as error:
        raise ArtifactCorrupt(f"policy bundle {path}: {_WEIGHTS}: {error}") from error
    with torch.device("meta"):
        network = Pi05Network(info.network)
    weights = {name.removeprefix("model."): value for name, value in weights.items()}
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(weights)) or sorted(
        name for name, value in expected.items() if value.shape != weights[name].shape
    )
    if wrong:
        raise ArtifactCorrupt(f"policy bundle {path}: weights do not fit the network: {', '.join(wrong[:3])}, ...")
    network.load_state_dict(weights, assign=True)
    return network, info


def _scaling_json(scaling: Scaling) -> dict[str, list[float]]:
    return {"q01": scaling.q01.tolist(), "q99": scaling.q99.tolist()}


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(canonical_json(value))


def with_condition(source: Path, out: Path, words: str) -> str:
    """Writes to `out` the bundle `source` that hears other words; returns the policy id. `out` must not exist.

    Without words there is nothing to mix, and guidance is 1. Everything else stays, linked as by `with_acting`.

    Raises:
        ArtifactCorrupt: `source` is not a bundle.
        ConfigError: words that no training has, or a policy that was trained without any.
    """
    if words not in TEXTS:
        raise ConfigError(f"condition {words!r}: expected one of {', '.join(map(repr, TEXTS))}")
    info = read_info(source)
    if words and not info.condition:
        raise ConfigError(f"policy bundle {source} was trained without advantage conditions: {words!r} means nothing")
    heard = replace(info, condition=words, guidance=info.guidance if words else 1.0)
    processors = {name: one for name, one in preprocessor_files(heard).items() if not name.endswith(".safetensors")}
    return _changed(source, out, heard, processors)


def _changed(source: Path, out: Path, info: BundleInfo, files: Mapping[str, Any] | None = None) -> str:
    """Writes to `out` the bundle `source` with what `info` says of acting, and other JSON files; returns its policy id.

    All three fields are written whichever changed: recap.json is of today's format then, and older ones lack some.
    """
    acting = {name: getattr(info, name) for name in ("condition", "guidance", "noise_scale")}
    files = files or {}
    link_folder(source, out, other=("config.json", "recap.json", *files))
    for name, content in files.items():
        _write_json(out / name, content)
    for name, own in (("config.json", {}), ("recap.json", {"format": FORMAT})):
        _write_json(out / name, json.loads((source / name).read_bytes()) | acting | own)
    return digest_tree(out)
