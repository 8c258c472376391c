"""What a run would be refused for later, found out before its first step: every check that needs no training.

`check_settings` looks at settings, tasks and robots alone and costs nothing; `check_recordings` reads the headers of
recorded episodes and is asked only when a step is about to run. The rules are those of the families and steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.config import LoopConfig
from recap.errors import ConfigError

if TYPE_CHECKING:
    from data.episode_file import Header

_NAMED = 8


def check_settings(config: LoopConfig) -> None:
    """Raises ConfigError if a policy or value model of the run cannot take the tasks' prompts or robot."""
    from data.task_list import tasks_of

    prompts = tuple(task.spec.prompt for task in tasks_of(config.task))
    _check_models(config, prompts, prompts)


def check_recordings(config: LoopConfig) -> None:
    """Raises ConfigError if recorded episodes of an offline run do not fit the task or a model; decodes no picture."""
    from data.tasks import TASKS
    from value_model.models import family_of as value_family

    if not config.offline:
        return
    task = TASKS.get(config.task)
    recorded = list(_recorded(config))
    headers = [header for header, _ in recorded]
    told = sorted({header.facts["instruction"] for header in headers if "instruction" in header.facts})
    _check_models(config, (task.spec.prompt, *told), (task.spec.prompt,))
    if not config.iterations:
        return
    blind = [header for header, has_truth in recorded if not has_truth]
    if blind and value_family(config.value.model).privileged:
        raise ConfigError(
            f"--value-model {value_family(config.value.model).name}: {len(blind)} of {len(headers)} episodes hold no "
            "simulator truth, which that control reads",
            hint="--value-model viva",
        )
    longer = sorted((header.length, header.id) for header in headers if header.length > task.spec.max_steps)
    if longer:
        named = "".join(f"\n  {episode[:16]}: {length} steps" for length, episode in longer[:_NAMED])
        more = f"\n  and {len(longer) - _NAMED} more" if len(longer) > _NAMED else ""
        raise ConfigError(
            f"{len(longer)} of {len(headers)} episodes are longer than max_steps {task.spec.max_steps} of task "
            f"'{config.task}', the time limit that values are measured against:{named}{more}",
            hint=f"set max_steps in the task's file to {longer[-1][0]} or more, or leave these episodes out",
        )


def _check_models(config: LoopConfig, told: tuple[str, ...], prompts: tuple[str, ...]) -> None:
    from data.task_list import robot_of
    from policy.models import family_of as policy_family
    from value_model.models import family_of as value_family

    robot = robot_of(config.task)
    for model in (config.pretrain.model, config.policy.model):
        policy_family(model).check(model, prompts=told, robot=robot)
    for model in config.value.models.values() if config.iterations else ():
        value_family(model).check(model, prompts=prompts, robot=robot)


def _recorded(config: LoopConfig) -> Iterator[tuple[Header, bool]]:
    """(header, whether the simulator's truth lies beside it) of each episode that the run would take over."""
    from data.episodes import EpisodeStore
    from pipelines.recorded import contents, open_recorded
    from pipelines.steps.ingest import fitting

    for role, folder in (("demos", config.demos), ("rollouts", config.rollouts)):
        if folder:
            settings = replace(config.ingest, task=config.task, role=role, folder=folder)
            recorded = open_recorded(folder, option=settings.option)
            ids, _ = fitting(recorded, contents(recorded, option=settings.option)["episodes"], settings)
            store = EpisodeStore(recorded.store)
            yield from ((store.header(episode), store.has_truth(episode)) for episode in ids)
