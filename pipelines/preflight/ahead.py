"""What a run would be refused for later, found out before its first step: every check that needs no training.

`check_settings` looks at settings, tasks and robots alone and costs nothing. `check_ahead` looks around as well (image
backends, packages, weights, the headers and labels of recorded episodes), decodes no picture, writes nothing but the
weights that it fetches into the cache of the hub, and is asked only when a step is about to run. The rules are those of
the families and steps.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from pipelines.config import RunConfig
from pipelines.preflight.models import check_models, privileged
from recap.errors import ConfigError
from recap.hub import fetched


def check_settings(config: RunConfig) -> None:
    """Raises ConfigError if settings do not go together, or a model cannot take the tasks' prompts or robot."""
    from data.task_list import tasks_of
    from value_model.advantage import check_share
    from value_model.folds import check_folds

    tasks = tasks_of(config.tasks)
    prompts = tuple(task.spec.prompt for task in tasks)
    check_models(config, told=prompts, prompts=prompts)
    for task in tasks if config.iterations and config.advantage.label.positive_fraction is None else ():
        check_share(task.spec.positive_fraction)
    if config.simulated:
        config.checkpoint_selection.refuse_untried()
        _check_acting(config)
        _check_probe(config)
    if config.iterations and not config.offline:
        check_folds((config.demos.starts + config.rollouts.starts) * len(tasks), config.cross_fit)


def _check_acting(config: RunConfig) -> None:
    from policy.models import Acting, family_of

    family = family_of(config.policy.model)
    for field in fields(Acting):
        asked = [number for number in getattr(config.checkpoint_selection, field.name) if number != field.default]
        if asked and field.name not in family.acts_by:
            raise ConfigError(
                f"policies of family '{family.name}' act in one way: {field.name} {asked[0]:g}, expected 1",
                hint="--set checkpoint_selection.guidance=1 --set checkpoint_selection.noise_scale=1",
            )


def _check_probe(config: RunConfig) -> None:
    from policy.models import family_of

    family = family_of(config.policy.model)
    if config.condition_probe.attempts and not family.conditioned:
        raise ConfigError(
            f"policies of family '{family.name}' hear one condition only: condition_probe.attempts = "
            f"{config.condition_probe.attempts}, expected 0",
            hint="--set condition_probe.attempts=0",
        )
    if config.condition_probe.attempts and not config.policy.told:
        raise ConfigError(
            f"policy.conditioning = '{config.policy.conditioning}': the policy hears no condition, and "
            f"condition_probe.attempts = {config.condition_probe.attempts}, expected 0",
            hint="--set condition_probe.attempts=0",
        )


def check_world(config: RunConfig) -> None:
    """Refuses now what the world of a task could not do hours later."""
    from data.task_list import tasks_of
    from data.tasks import capabilities_of

    for task in tasks_of(config.tasks):
        name, can = task.spec.id, capabilities_of(task)
        if not can.expert:
            raise ConfigError(
                f"task '{name}': nobody demonstrates it in a simulated world, so there is nothing to imitate",
                hint=f"recap run --task {name} --collect none --demos DIR --rollouts DIR   (recorded episodes)",
            )
        if config.iterations and config.rollouts.corrections and not can.takeover:
            raise ConfigError(
                f"task '{name}': no expert takes over in its world, and {config.rollouts.corrections} attempts with "
                "corrections are asked for",
                hint="--set rollouts.corrections=0",
            )


def check_ahead(config: RunConfig, root: Path, say: Callable[[str], None]) -> RunConfig:
    """Raises what would be refused later in the workspace at `root`, which need not be there.

    Weights that settings name on a hub are fetched last, once nothing else is left to refuse but they.

    Returns:
        The settings, with those names bound to what was fetched.

    Raises:
        ConfigError: an image backend or package that is not here; recorded episodes that do not fit the task, each
            other or a model; weights that cannot be had.
        Corrupt: recorded episodes, labels or starting weights that are not what was written.
    """
    _check_around(config, root)
    if (here := fetched(config, say)) != config:
        config = here
        check_settings(config)
        _check_around(config, root)
    from data.task_list import robot_of
    from policy.models import family_of as policy_family

    policy_family(config.policy.model).check_files(config.policy.model, robot_of(config.tasks))
    if config.iterations:
        from value_model.models import family_of

        for model in config.values.values():
            family_of(model).check_files(model)
    return config


def _check_around(config: RunConfig, root: Path) -> None:
    """What needs no weights."""
    if config.offline:
        from pipelines.preflight.recorded import check_recordings

        check_recordings(config, root)
    elif config.on_robot:
        _check_robot(config)
    else:
        _check_machine(config, root)
    check_runtime(config)


def check_runtime(config: RunConfig) -> None:
    """Raises ConfigError for what the devices and processes of the trainings lack."""
    from policy.models import family_of as policy_family
    from recap.training.runtime import Runtime
    from value_model.models import family_of as value_family

    runtime, count = config.runtime, config.runtime.processes
    if count > 1 and runtime.device.rpartition(":")[2].isdecimal():
        raise ConfigError(
            f"runtime.device = {runtime.device} is one device, and runtime.processes = {count} need as many",
            hint="--set runtime.device=cuda, or --set runtime.processes=1",
        )
    here = config.executor.address is None
    if runtime.compile and here and (lacks := _no_compiler(runtime.device.partition(":")[0])):
        raise ConfigError(f"runtime.compile: {lacks}", hint="--set runtime.compile=false")
    if runtime.device != "cpu" and here:
        # Of another machine's devices nothing is known here.
        device = Runtime.of(runtime).torch_device()
        if count > 1:
            import torch

            if (seen := torch.get_device_module(device).device_count()) < count:
                raise ConfigError(
                    f"runtime.processes = {count}, each on its own device: torch sees {seen} of {device.type}",
                    hint="--set runtime.processes=N, at most as many as there are devices",
                )
    if count > 1 and config.executor.name == "local":
        raise ConfigError(
            f"runtime.processes = {count} with --executor local, which has one",
            hint="recap run --executor ray, or --set runtime.processes=1",
        )
    values = config.values.items() if config.iterations else ()
    trained = {f"values.{name}": model for name, model in values if value_family(model).networks}
    if policy_family(config.policy.model).networks:
        trained["policy.model"] = config.policy.model
    for name, model in trained.items():
        if getattr(model, "batch_size", count) < count:
            raise ConfigError(
                f"{name}.batch_size = {model.batch_size} is less than runtime.processes = {count}",
                hint="--set runtime.processes=N, at most a batch; or a larger batch_size of that model",
            )


def _no_compiler(device: str) -> str:
    """What torch.compile would miss here for that kind of device; "" if nothing."""
    if device != "cpu":
        return "" if find_spec("triton") else f"torch compiles for {device} with triton, which is not installed"
    compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
    return (
        "" if any(map(shutil.which, compilers)) else "torch compiles for the CPU with g++ or clang++, neither is here"
    )


def _check_robot(config: RunConfig) -> None:
    """What its operator would be refused for after hours of training; connects nothing."""
    from data.robots.env_file import read_env_file
    from data.task_list import tasks_of

    files = read_env_file(Path(config.robot_from))
    if files.teleoperator is None:
        raise ConfigError(
            f"--env {config.robot_from}: no teleoperator, and {config.demos.episodes} demonstrations to be made",
            hint="name it there: teleoperator: FILE   (docs/robots.md)",
        )
    files.make(tasks_of(config.tasks)[0])


def _check_machine(config: RunConfig, root: Path) -> None:
    """What the machine lacks for the worlds of the tasks."""
    from data.robots.gym import GymTask
    from data.task_list import tasks_of
    from pipelines.attempts import renderer_here

    for task in tasks_of(config.tasks):
        if isinstance(task, GymTask):
            task.require_package()
            blind = privileged(config)
            if config.iterations and blind and task.read_progress is None:
                raise ConfigError(
                    f"{blind[0]}: the world of task '{task.spec.id}' has no measure of progress",
                    hint="--value viva   (and no such arm in --labels or --arms)",
                )
        renderer_here(root, (task.spec.id,), config.env.renderer)
