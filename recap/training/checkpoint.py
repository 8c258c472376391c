"""Checkpoints on disk: whole or not there, complete or refused. Safetensors and JSON, never a pickle.

A checkpoint is a folder `step-<n>` made in a temporary folder beside it, synced and renamed. Its manifest lists every
component a resume needs, with size and checksum; a missing one is refused by name, because going on without (say) the
optimizer's moments gives a worse model and no error. Where several processes train together each writes its rows of
every tensor to files of its own (a shard); as many processes read their own files again, another number the rows that
are theirs now from whichever files hold them. The folder must be one that all of them see.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from recap import faults
from recap.errors import ResumeRefused
from recap.files import move, sync, sync_tree
from recap.hashing import canonical_json, file_sha256
from recap.training.runtime import Runtime
from recap.training.sharding import rows_of

FORMAT = 2
COMPONENTS = ("model", "ema", "optimizer", "rng")
"""Tensor components. `progress` (step, running figures) and `config` are in the manifest itself."""
_MANIFEST = "manifest.json"
_DIVIDED = "divided"
"""In the manifest of several processes: how tensors are divided. Older ones lack it: they were divided by name."""
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
    """{component: {name: tensor}} for every one of COMPONENTS: what this process holds."""


def checkpoint_folder(scratch: Path) -> Path:
    """Where a training with this scratch folder keeps its checkpoints."""
    return scratch / "checkpoints"


def newest_step(folder: Path) -> int | None:
    """Gradient steps taken at the newest checkpoint under `folder`; None if there is none. Reads no tensor."""
    found = _found(folder)
    return int(found[-1].name.removeprefix("step-")) if found else None


def save_checkpoint(folder: Path, checkpoint: Checkpoint, runtime: Runtime) -> None:
    """Commits a checkpoint under `folder` and removes older ones. Every rank calls it with what it holds."""
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
            **({_DIVIDED: "rows"} if runtime.world_size > 1 else {}),
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
    """The newest checkpoint under `folder`, as far as this rank holds it; None if training has not got as far as one.

    Raises:
        ResumeRefused: a component is missing or altered, or the checkpoint was made under another config.
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
    shards = manifest["shards"]
    if len(shards) > 1 and manifest.get(_DIVIDED) != "rows":
        raise ResumeRefused(
            f"checkpoint {place} of {len(shards)} processes is divided by {manifest.get(_DIVIDED)}, expected by rows",
            hint=_HINT,
        )
    there = {
        name for name in COMPONENTS if all(name in one and (place / one[name]["file"]).is_file() for one in shards)
    }
    if lacking := [name for name in COMPONENTS if name not in there]:
        raise ResumeRefused(f"checkpoint {place} lacks {', '.join(lacking)}: cannot go on exactly", hint=_HINT)
    wanted = json.loads(canonical_json(dict(config)))
    if manifest["config"] != wanted:
        names = sorted(key for key in {*wanted, *manifest["config"]} if wanted.get(key) != manifest["config"].get(key))
        raise ResumeRefused(
            f"checkpoint {place} was made with another {', '.join(names)}: "
            f"got {[manifest['config'].get(name) for name in names]}, expected {[wanted.get(name) for name in names]}",
            hint=_HINT,
        )
    as_many = len(shards) == runtime.world_size
    tensors = {}
    for name in COMPONENTS:
        files = []
        for shard in [shards[runtime.rank]] if as_many else shards:
            path = place / shard[name]["file"]
            if path.stat().st_size != shard[name]["bytes"] or file_sha256(path) != shard[name]["sha256"]:
                raise ResumeRefused(f"checkpoint {place}: {name} is not what was saved (size or checksum)", hint=_HINT)
            files.append(path)
        tensors[name] = load_file(files[0]) if as_many else _rows(files, runtime, equal=name == "rng")
    return Checkpoint(step=manifest["step"], config=wanted, figures=manifest["figures"], tensors=tensors)


def _rows(files: Sequence[Path], runtime: Runtime, *, equal: bool) -> dict[str, Tensor]:
    """This rank's rows of tensors whose rows lie in several files, in order. `equal`: each file has all, the same."""
    with ExitStack() as stack:
        parts = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
        found = {}
        for name in parts[0].keys():  # noqa: SIM118  not a mapping
            slices = [part.get_slice(name) for part in parts]
            if equal or not slices[0].get_shape():
                found[name] = parts[0].get_tensor(name)
                continue
            counts = [one.get_shape()[0] for one in slices]
            mine, start, taken = rows_of(sum(counts), runtime.rank, runtime.world_size), 0, []
            for one, count in zip(slices, counts, strict=True):
                first, last = max(mine.start - start, 0), min(mine.stop - start, count)
                if first < last:
                    taken.append(one[first:last])
                start += count
            found[name] = torch.cat(taken) if taken else parts[0].get_tensor(name)[:0]
        return found


def _found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir()) if folder.is_dir() else []
