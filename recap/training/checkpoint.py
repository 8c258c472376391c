"""Checkpoints on disk: whole or not there, complete or refused. Safetensors and JSON, never a pickle.

A checkpoint is a folder `step-<n>` made in a temporary folder beside it, synced and renamed. Its manifest lists every
component a resume needs, with size and checksum; a missing one is refused by name, because going on without (say) the
optimizer's moments gives a worse model and no error. Where several processes train together each writes the tensors
that it owns to files of its own (a shard) and reads only those; the folder must be one that all of them see.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from recap import faults
from recap.errors import ResumeRefused
from recap.files import move, sync, sync_tree
from recap.hashing import canonical_json, file_sha256
from recap.training.runtime import Runtime

FORMAT = 2
COMPONENTS = ("model", "ema", "optimizer", "rng")
"""Tensor components. `progress` (step, running figures) and `config` are in the manifest itself."""
_MANIFEST = "manifest.json"
_HINT = "delete this scratch folder to train from the start"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checkpoint:
    """All that a training run is, between two gradient steps."""

    step: int
    """Gradient steps taken; also the number of the next batch."""
    config: Mapping[str, Any]
    """What the run was asked to do; a resume under another is refused."""
    figures: Mapping[str, float]
    """Running figures (smoothed loss, ...)."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """{component: {name: tensor}} for every one of COMPONENTS: what this process owns."""


def checkpoint_folder(scratch: Path) -> Path:
    """Where a training with this scratch folder keeps its checkpoints."""
    return scratch / "checkpoints"


def newest_step(folder: Path) -> int | None:
    """Gradient steps taken at the newest checkpoint under `folder`; None if there is none. Reads no tensor."""
    found = _found(folder)
    return int(found[-1].name.removeprefix("step-")) if found else None


def save_checkpoint(folder: Path, checkpoint: Checkpoint, runtime: Runtime) -> None:
    """Commits a checkpoint under `folder` and removes older ones. Every rank calls it with what it owns."""
    faults.point("train.before_checkpoint")
    final = folder / f"step-{checkpoint.step:09d}"
    temporary = folder / f".tmp-{final.name}"
    if runtime.rank == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    runtime.barrier()
    _write_shard(temporary, checkpoint.tensors, runtime)
    runtime.barrier()
    if runtime.rank == 0:
        shards = [temporary / _shard_name(rank) for rank in range(runtime.world_size)]
        manifest = {
            "format": FORMAT,
            "step": checkpoint.step,
            "config": dict(checkpoint.config),
            "figures": dict(checkpoint.figures),
            "shards": [json.loads(shard.read_bytes()) for shard in shards],
        }
        (temporary / _MANIFEST).write_bytes(canonical_json(manifest))
        for shard in shards:
            shard.unlink()
        sync_tree(temporary)
        faults.point("train.before_rename")
        if final.exists():  # the same step, of an attempt that was resumed right there
            shutil.rmtree(final)
        move(temporary, final)
        for other in folder.iterdir():
            if other != final and other.name.startswith((".tmp-", "step-")):
                shutil.rmtree(other)
    runtime.barrier()
    faults.point("train.after_checkpoint")


def _write_shard(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], runtime: Runtime) -> None:
    files = {}
    for component in COMPONENTS:
        part = "" if runtime.world_size == 1 else f"-{runtime.rank}-of-{runtime.world_size}"
        path = folder / f"{component}{part}.safetensors"
        save_file({name: value.contiguous() for name, value in tensors[component].items()}, path)
        sync(path)
        files[component] = {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
    (folder / _shard_name(runtime.rank)).write_bytes(canonical_json(files))


def _shard_name(rank: int) -> str:
    return f"shard-{rank}.json"


def load_checkpoint(folder: Path, config: Mapping[str, Any], runtime: Runtime) -> Checkpoint | None:
    """The newest checkpoint under `folder`, as far as this rank owns it; None if training has not got as far as one.

    Raises:
        ResumeRefused: a component is missing or altered, or the checkpoint was made under another config or by
            another number of processes.
    """
    found = _found(folder)
    if not found:
        return None
    place = found[-1]
    if not (place / _MANIFEST).is_file():
        raise ResumeRefused(f"checkpoint {place} has no {_MANIFEST}", hint=_HINT)
    manifest = json.loads((place / _MANIFEST).read_bytes())
    if manifest.get("format") != FORMAT:
        raise ResumeRefused(f"checkpoint {place}: format {manifest.get('format')}, expected {FORMAT}", hint=_HINT)
    if len(manifest["shards"]) != runtime.world_size:
        raise ResumeRefused(
            f"checkpoint {place} was made with world_size {len(manifest['shards'])}, expected {runtime.world_size}",
            hint=f"go on with {len(manifest['shards'])} processes, or {_HINT}",
        )
    shard = manifest["shards"][runtime.rank]
    lacking = [name for name in COMPONENTS if name not in shard or not (place / shard[name]["file"]).is_file()]
    if lacking:
        raise ResumeRefused(f"checkpoint {place} lacks {', '.join(lacking)}: cannot go on exactly", hint=_HINT)
    wanted = json.loads(canonical_json(dict(config)))
    if manifest["config"] != wanted:
        names = sorted(key for key in {*wanted, *manifest["config"]} if wanted.get(key) != manifest["config"].get(key))
        raise ResumeRefused(
            f"checkpoint {place} was made with another {', '.join(names)}: "
            f"got {[manifest['config'].get(name) for name in names]}, expected {[wanted.get(name) for name in names]}",
            hint=_HINT,
        )
    tensors = {}
    for name, entry in shard.items():
        path = place / entry["file"]
        if path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
            raise ResumeRefused(f"checkpoint {place}: {name} is not what was saved (size or checksum)", hint=_HINT)
        tensors[name] = load_file(path)
    return Checkpoint(step=manifest["step"], config=wanted, figures=manifest["figures"], tensors=tensors)


def _found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir()) if folder.is_dir() else []
