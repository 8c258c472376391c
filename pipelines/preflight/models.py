"""Whether the models of a run can be trained for its robot and its words, asked of their families."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.config import RunConfig


def check_models(config: RunConfig, *, told: Sequence[str], prompts: Sequence[str]) -> None:
    """Raises ConfigError if a model of the run cannot be trained for its robot and words.

    Args:
        config: of the run.
        told: every wording that policies hear.
        prompts: of the tasks, which value models hear.
    """
    from data.task_list import robot_of
    from policy.models import family_of as policy_family
    from value_model.models import family_of as value_family

    robot = robot_of(config.tasks)
    policy_family(config.policy.model).check(config.policy.model, prompts=told, robot=robot)
    for model in config.values.values() if config.iterations else ():
        value_family(model).check(model, prompts=prompts, robot=robot)
