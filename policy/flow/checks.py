"""What a family cannot take, known from its settings, the prompts and the robot alone: asked before any training."""

from __future__ import annotations

from collections.abc import Sequence

from policy.conditioning import TEXTS
from policy.flow.config import FlowConfig, relative_dims
from policy.flow.prompt import PromptForm
from policy.flow.vocabulary import VOCAB_SIZE, encode
from recap.errors import ConfigError
from recap.specs import RobotSpec


def check_conditioning(family: str, config: FlowConfig, conditioning: str) -> None:
    """Raises ConfigError for a way of conditioning (policy.teaching) that the network has no place for."""
    if conditioning == "continuous" and config.network.condition != "embedding":
        raise ConfigError(
            f"{family}: policy.conditioning = 'continuous': graded conditions have no words, and network.condition = "
            f"{config.network.condition!r}",
            hint="--set policy.model.network.condition=embedding",
        )


def check(family: str, form: PromptForm, config: FlowConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the policy could not be trained for these prompts on this robot."""
    actions, states = len(robot.action_names), len(robot.state_names)
    # 0: as many as the robot has.
    if 0 < config.network.action_dim < actions:
        raise ConfigError(
            f"{family}: network.action_dim = {config.network.action_dim} is less than the robot's {actions} actions",
            hint=f"--set policy.model.network.action_dim={actions}",
        )
    if config.network.cameras not in (0, len(robot.cameras)):
        raise ConfigError(
            f"{family}: network.cameras = {config.network.cameras}, the robot has {len(robot.cameras)}",
            hint="--set policy.model.network.cameras=0   (as many as there are)",
        )
    if config.network.vocab_size < VOCAB_SIZE:
        raise ConfigError(
            f"{family}: network.vocab_size = {config.network.vocab_size}, prompts have {VOCAB_SIZE} different tokens",
            hint=f"--set policy.model.network.vocab_size={VOCAB_SIZE}",
        )
    if relative := relative_dims(config, robot):
        from data.normalise import check_relative_dims

        try:
            check_relative_dims(relative, states, actions)
        except ConfigError as error:
            raise ConfigError(
                f"{family}: relative_actions: {error.message}",
                hint="--set policy.model.relative_actions=false",
            ) from error
    for prompt in prompts:
        tokens = max(len(encode(form.text(prompt, [0] * states, condition=condition))) for condition in TEXTS)
        if tokens > config.prompt_tokens:
            raise ConfigError(
                f"{family}: the prompt {prompt!r} and {states} state values take {tokens} tokens, expected at most "
                f"{config.prompt_tokens}",
                hint=f"--set policy.model.prompt_tokens={tokens}",
            )
