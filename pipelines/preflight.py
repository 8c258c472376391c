"""What a run would be refused for later, found out before its first step: every check that needs no training.

`check_settings` looks at settings, tasks and robots alone and costs nothing. `check_ahead` looks around as well (image
backends, packages, weights, the headers and labels of recorded episodes), decodes no picture, writes nothing, and is
asked only when a step is about to run. The rules are those of the families and steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.config import LoopConfig
from recap.errors import ConfigError
from recap.graph import Graph


def check_settings(config: LoopConfig, graph: Graph) -> None:
    """Raises ConfigError if settings do not go together, or a model cannot take the tasks' prompts or robot."""
    from data.task_list import tasks_of
    from value_model.advantage import check_share
    from value_model.folds import check_folds

    tasks = tasks_of(config.task)
    prompts = tuple(task.spec.prompt for task in tasks)
    check_models(config, told=prompts, prompts=prompts)
    for task in tasks if config.iterations and config.advantage.label.positive_fraction is None else ():
        check_share(task.spec.positive_fraction)
    if config.offline:
        return
    _check_starts(graph)
    if config.iterations:
        config.select.refuse_untried()
        recorded = config.collect.episodes + config.rollout.attempts + config.rollout.corrections
        check_folds(recorded * len(tasks), config.value.cross_fit)


def check_models(config: LoopConfig, *, told: Sequence[str], prompts: Sequence[str]) -> None:
    """Raises ConfigError if a model of the run cannot be trained for its robot and words.

    Args:
        config: of the run.
        told: every wording that policies hear.
        prompts: of the tasks, which value models hear.
    """
    from data.task_list import robot_of
    from policy.models import family_of as policy_family
    from value_model.models import family_of as value_family

    robot = robot_of(config.task)
    for model in (config.pretrain.model, config.policy.model):
        policy_family(model).check(model, prompts=told, robot=robot)
    policy_family(config.policy.model).check_base(config.pretrain.model, config.policy.model)
    for model in config.value.models.values() if config.iterations else ():
        value_family(model).check(model, prompts=prompts, robot=robot)


def check_ahead(config: LoopConfig, root: Path) -> None:
    """Raises what would be refused later in the workspace at `root`, which need not be there.

    Raises:
        ConfigError: an image backend or package that is not here; recorded episodes that do not fit the task, each
            other or a model.
        Corrupt: recorded episodes, labels or starting weights that are not what was written.
    """
    if config.offline:
        from pipelines.preflight_recorded import check_recordings

        check_recordings(config, root)
    else:
        _check_world(config, root)
    if config.iterations:
        from value_model.models import family_of

        family_of(config.value.model).check_files(config.value.model)


def _check_starts(graph: Graph) -> None:
    for node in graph.order():
        try:
            getattr(node.config, "starts", None)
        except ConfigError as error:
            raise ConfigError(
                f"{node.name}: {error.message}",
                hint=f"fewer of them, fewer iterations, or a lower {node.spec.name}.first_seed",
            ) from error


def _check_world(config: LoopConfig, root: Path) -> None:
    """What the machine lacks for the worlds of the tasks, and pictures that no training set may mix."""
    from data.robots.gym import GymTask
    from data.task_list import tasks_of
    from pipelines.attempts import renderer_here
    from value_model.models import family_of

    tasks = tasks_of(config.task)
    for task in tasks:
        if isinstance(task, GymTask):
            task.require_package()
            if config.iterations and family_of(config.value.model).privileged and task.read_progress is None:
                raise ConfigError(
                    f"--value-model {family_of(config.value.model).name}: the world of task '{task.spec.id}' has no "
                    "measure of progress",
                    hint="--value-model viva",
                )
    stages: dict[str, Any] = {"collect": config.collect, "select": config.select, "evaluate": config.evaluate}
    if config.iterations:
        stages |= {"rollout": config.rollout, **({"promote": config.promote} if config.gate else {})}
    drawn = {
        name: renderer_here(root, task.spec.id, stage.renderer, setting=f"{name}.renderer")
        for task in tasks
        for name, stage in stages.items()
    }
    if config.iterations and drawn["collect"] != drawn["rollout"]:
        raise ConfigError(
            f"demonstrations would be drawn by '{drawn['collect']}' and rollouts by '{drawn['rollout']}': "
            "one training set never mixes image backends",
            hint=f"--set collect.renderer={drawn['collect']} --set rollout.renderer={drawn['collect']}",
        )
