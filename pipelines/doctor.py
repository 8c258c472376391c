"""What stands between this machine and a run, each thing in one line with what to do about it: `recap doctor`.

Looks and measures, changes nothing: the probe of a training works in a folder that is gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.probe import NoiseBatches, policy_needs, value_needs
from recap.errors import RecapError
from recap.hub import NotFetched, unfetched
from recap.runner import SilentJournal
from recap.texts import size_text

if TYPE_CHECKING:
    from pipelines.config import RunConfig
    from recap.training.needs import Needs

DISTRIBUTION = "recap-rl"
PROBED_STEPS = 4
"""Gradient steps of the probe; the first is not counted, for it warms caches."""
_GIB = 2**30
_LITTLE_DISK = 5 * _GIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    state: str
    """"ok", "note" (goes on, but know it) or "bad" (a run would fail)."""
    text: str
    fix: str = ""


def examine(
    config: RunConfig, root: Path, *, checkpoint: Path | None = None, probe: bool = True, disk: int = 0
) -> list[Finding]:
    """Everything looked at for a run with these settings in the workspace at `root`, which need not be there.

    Args:
        config: of the run.
        root: of the workspace.
        checkpoint: folder of weights to compare with the policy's published sizes.
        probe: take a few steps to know the speed.
        disk: bytes that the run is known to take; 0: not known.
    """
    device = _device(config)
    found = [_packages(), _cores(), device, _disk(root, disk)]
    if config.simulated:
        found.append(_renderer(config, root))
    models = list(_models(config))
    found += [*models, *_weights(config)]
    if device.state != "bad":
        found += _training(config, root, tried=probe and all(one.state == "ok" for one in models))
    return found if checkpoint is None else [*found, *_checkpoint(config, checkpoint)]


def _packages() -> Finding:
    from packaging.requirements import Requirement

    wrong, count = [], 0
    for text in requires(DISTRIBUTION) or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is not installed")
        else:
            if not wanted.specifier.contains(there, prereleases=True):
                wrong.append(f"{wanted.name} {there}, expected {wanted.specifier}")
    if wrong:
        return Finding(name="packages", state="bad", text="; ".join(wrong), fix="make setup")
    return Finding(name="packages", state="ok", text=f"recap {version(DISTRIBUTION)}, {count} packages as it asks for")


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0))
    text = f"{cores} cores, {_machine_memory() / _GIB:.0f} GiB of memory"
    if cores < 2:
        return Finding(name="machine", state="note", text=f"{text}: --executor ray wants two", fix="--executor local")
    return Finding(name="machine", state="ok", text=text)


def _device(config: RunConfig) -> Finding:
    import torch

    from pipelines.preflight.ahead import check_runtime
    from recap.training.runtime import Runtime

    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    seen = ", ".join(f"{card.name} ({card.total_memory / _GIB:.0f} GiB)" for card in cards)
    try:
        check_runtime(config)
        device = Runtime.of(config.runtime).torch_device()
    except RecapError as error:
        return Finding(name="device", state="bad", text=error.message, fix=error.hint)
    if device.type == "cpu":
        idle = f"; not used: {seen}" if cards else "; no accelerator here"
        fix = "--set runtime.device=cuda" if cards else ""
        return Finding(
            name="device", state="note" if cards else "ok", text=f"networks compute on the CPU{idle}", fix=fix
        )
    return Finding(
        name="device", state="ok", text=f"networks compute on {config.runtime.device}: {seen or device.type}"
    )


def _place(root: Path) -> Path:
    """What is there of a workspace that may not be."""
    place = root.absolute()
    while not place.exists():
        place = place.parent
    return place


def _disk(root: Path, needed: int) -> Finding:
    place = _place(root)
    free = shutil.disk_usage(place).free
    text = f"{size_text(free)} free at {place}"
    if not os.access(place, os.W_OK):
        return Finding(name="disk", state="bad", text=f"{place} cannot be written", fix="--workspace DIR")
    if needed > free:
        text = f"{text}, the trainings take up to {size_text(needed)}"
        return Finding(name="disk", state="bad", text=text, fix="--workspace DIR   (on a larger disk)")
    if free < _LITTLE_DISK:
        return Finding(name="disk", state="note", text=f"{text}, which is little", fix="recap gc   (what can go)")
    return Finding(name="disk", state="ok", text=text)


def _renderer(config: RunConfig, root: Path) -> Finding:
    from pipelines.attempts import renderer_here

    try:
        found = renderer_here(root, config.tasks, config.env.renderer)
    except RecapError as error:
        return Finding(name="renderer", state="bad", text=error.message, fix=error.hint)
    if found == "ray":
        text = "the built-in ray renderer: no EGL or OSMesa works here, pictures take longer"
        return Finding(name="renderer", state="note", text=text, fix="install libegl1 or libosmesa6")
    return Finding(name="renderer", state="ok", text=found)


class _Speed(SilentJournal):
    """A journal that remembers how fast the training went."""

    def __init__(self) -> None:
        self.steps_per_s: list[float] = []

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Keeps the speed among the values."""
        self.steps_per_s += [values["steps_per_s"]] if "steps_per_s" in values else []


def _training(config: RunConfig, root: Path, *, tried: bool = True) -> Iterator[Finding]:
    """Memory of the trainings, and the speed of the policy's if that much is there and it is `tried`."""
    from data.task_list import robot_of, tasks_of
    from policy.models import family_of
    from recap.training.runtime import Runtime

    robot, runtime, model = robot_of(config.tasks), Runtime.of(config.runtime), config.policy.model
    given: dict[str, Any] = {
        "prompts": tuple(task.spec.prompt for task in tasks_of(config.tasks)), "robot": robot, "runtime": runtime
    }  # fmt: skip
    family, needs = family_of(model), policy_needs(model, **given)
    memory = _memory(config, family.name, needs)
    yield memory
    for name, value in config.values.items() if config.iterations else ():
        if (its := value_needs(value, **given)) is not None:
            yield _memory(config, name, its)
    if not (family.networks and tried) or memory.state == "bad":
        return
    if runtime.processes > 1:
        yield Finding(name="speed", state="note", text="not tried: the probe is one process, and the trainings several")
        return
    # A bundle, a checkpoint, and the one that takes its place; beside the workspace, not in it.
    beside = _place(root.absolute().parent)
    takes, free = 0 if needs is None else needs.bundle + 8 * needs.trained, shutil.disk_usage(beside).free
    if takes > free:
        text = f"not tried: the probe writes {size_text(takes)}, {size_text(free)} are free"
        yield Finding(name="speed", state="note", text=text, fix="--workspace DIR   (on a larger disk)")
        return
    speed, batches = _Speed(), NoiseBatches.of(family, model, robot)
    fit = replace(model.fit, steps=PROBED_STEPS, log_every=1, checkpoint_every=PROBED_STEPS + 1)
    short = replace(model, fit=fit, **({"candidates": 1} if hasattr(model, "candidates") else {}))
    with tempfile.TemporaryDirectory(prefix="recap-doctor-", dir=beside) as folder:
        family.train(
            short, batches, batches.stats, scratch=Path(folder) / "scratch", out=Path(folder) / "out", journal=speed,
            prompts=given["prompts"][:1], robot=robot, cameras=robot.camera_names, **family.at(runtime),
        )  # fmt: skip
    if speed.steps_per_s:
        rate = float(np.median(speed.steps_per_s[1:] or speed.steps_per_s))
        text = f"1,000 steps of {family.name} take about {1000 / rate / 60:.1f} minutes ({rate:.1f} steps/s)"
        yield Finding(name="speed", state="ok", text=text)


def _memory(config: RunConfig, name: str, needs: Needs | None) -> Finding:
    if needs is None:
        return Finding(name="memory", state="note", text=f"what a training of {name} needs is not known")
    parts = ", ".join(f"{what} {size_text(count)}" for what, count in needs.memory.items())
    here, count = _memory_there(config), config.runtime.processes
    each = " of each process" if count > 1 else ""
    text = f"training {name} takes about {size_text(needs.total)}{each} ({parts}); there are {size_text(here)}"
    # Each builds the network whole before it is divided.
    if count > 1 and (whole := count * needs.bundle) > _machine_memory():
        text = f"{text}; {count} processes build {size_text(whole)} of weights on this machine's CPU first"
        return Finding(name="memory", state="bad", text=text, fix="--set runtime.processes=N, or a larger machine")
    # Cards are one per process; a machine without any is shared.
    if needs.total * (count if config.runtime.device == "cpu" else 1) > here:
        fix = "smaller samples per pass: --set runtime.micro_batch=N, more processes, or another machine"
        return Finding(name="memory", state="bad", text=text, fix=fix)
    return Finding(name="memory", state="ok", text=text)


def _memory_there(config: RunConfig) -> int:
    """Bytes of the device, or of the machine for a CPU."""
    import torch

    from recap.training.runtime import Runtime

    device = Runtime.of(config.runtime).torch_device()
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return _machine_memory()


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _models(config: RunConfig) -> Iterator[Finding]:
    """Whether the policy and the value models can be trained for the tasks, from the weights they start from."""
    from data.task_list import robot_of, tasks_of
    from policy.models import family_of
    from value_model.models import family_of as value_family

    robot, model = robot_of(config.tasks), config.policy.model
    prompts = tuple(task.spec.prompt for task in tasks_of(config.tasks))
    family = family_of(model)
    asked: list[tuple[str, Any]] = [
        (family.name, partial(family.check, model, prompts=prompts, robot=robot)),
        (family.name, partial(family.check_files, model, robot)),
    ]
    for name, value in config.values.items() if config.iterations else ():
        known = value_family(value)
        asked.append((name, partial(known.check, value, prompts=prompts, robot=robot)))
        asked.append((name, partial(known.check_files, value)))
    wrong: dict[str, RecapError] = {}
    later: dict[str, NotFetched] = {}
    for name, look in asked:
        try:
            look()
        except NotFetched as error:
            later.setdefault(name, error)
        except RecapError as error:
            wrong.setdefault(name, error)
    if not (wrong or later):
        yield Finding(name="models", state="ok", text=", ".join(dict.fromkeys(name for name, _ in asked)))
    for name in later.keys() - wrong.keys():
        text = f"{name} can be checked once its weights are here"
        yield Finding(name="models", state="note", text=text)
    yield from (Finding(name="models", state="bad", text=one.message, fix=one.hint) for one in wrong.values())


def _weights(config: RunConfig) -> Iterator[Finding]:
    """What would be fetched from a hub, and the licences of published weights."""
    from pipelines.licences import weights_of

    for setting, name in unfetched(config).items():
        text = f"{setting}: {name} is not here; the run would fetch it before its first step (size unknown)"
        yield Finding(name="weights", state="note", text=text, fix=name.by_hand)
    for one in weights_of(config):
        text = f"{', '.join(one.settings)} ({one.place}): {one.licence or 'unknown'}"
        fix = "read the terms before you use or pass on what is trained from them"
        yield Finding(name="licence", state="note", text=text, fix=fix)


def _checkpoint(config: RunConfig, folder: Path) -> Iterator[Finding]:
    from policy.models import family_of

    family = family_of(config.policy.model)
    if family.check_checkpoint is None:
        yield Finding(name="checkpoint", state="bad", text=f"{family.name} knows no published weights")
        return
    try:
        what, problems = family.check_checkpoint(folder)
    except RecapError as error:
        yield Finding(name="checkpoint", state="bad", text=error.message, fix=error.hint)
        return
    yield Finding(name="checkpoint", state="bad" if problems else "ok", text=f"{folder}: {what}")
    yield from (Finding(name="checkpoint", state="bad", text=line) for line in problems)
