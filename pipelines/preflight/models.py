"""Whether the models of a run can be trained for its robot and its words, asked of their families."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pipelines.config import RunConfig
from recap.errors import ConfigError
from recap.hub import NotFetched


def check_models(config: RunConfig, *, told: Sequence[str], prompts: Sequence[str]) -> None:
    """Raises ConfigError if a model of the run cannot be trained for its robot and words.

    Args:
        config: of the run.
        told: every wording that policies hear.
        prompts: of the tasks, which value models hear.
    """
    from data.task_list import robot_of
    from policy.models import family_of as policy_family
    from policy.teaching import GRADED
    from value_model.arms import ARMS
    from value_model.models import family_of as value_family

    robot = robot_of(config.tasks)
    family = policy_family(config.policy.model)
    with suppress(NotFetched):  # asked again once it is here: check_ahead
        family.check(config.policy.model, prompts=told, robot=robot)
    family.check_conditioning(config.policy.model, config.policy.conditioning)
    arms = (config.labels, *config.arms) if config.iterations else ()
    blind = [arm for arm in arms if config.rule(arm) and not ARMS.get(config.rule(arm)).values]
    if blind and config.policy.conditioning in GRADED:
        raise ConfigError(
            f"policy.conditioning = '{config.policy.conditioning}' reads advantages, and arm {blind[0]} has none",
            hint="--set policy.conditioning=hard",
        )
    for model in config.values.values() if config.iterations else ():
        with suppress(NotFetched):
            value_family(model).check(model, prompts=prompts, robot=robot)


def privileged(config: RunConfig) -> list[str]:
    """The options of a run that ask for what reads the simulator's truth: value models and arms."""
    from value_model.arms import ARMS
    from value_model.models import family_of

    models = [f"--value {name}" for name, model in config.values.items() if family_of(model).privileged]
    rules = [arm for arm in (config.labels, *config.arms) if config.rule(arm) and ARMS.get(arm).privileged]
    return models + [f"--labels {arm}" if arm == config.labels else f"--arms {arm}" for arm in rules]
