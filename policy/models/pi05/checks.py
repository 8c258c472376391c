"""What pi0.5 cannot take, known from its settings, the prompts and the robot alone: asked before any training."""

from __future__ import annotations

from collections.abc import Sequence

from policy.conditioning import TEXTS
from policy.models.pi05.config import Pi05Config, relative_dims
from policy.models.pi05.prompt import VOCAB_SIZE, encode, prompt_text
from recap.errors import ConfigError
from recap.specs import RobotSpec

_OF_BASE = ("network", "chunk", "relative_actions")
"""Settings that a training shares with the base it starts from; train.py asks the same of the bundle."""


def check_conditioning(config: Pi05Config, conditioning: str) -> None:
    """Raises ConfigError for a way of conditioning (policy.teaching) that the network has no place for."""
    if conditioning == "continuous" and config.network.condition != "embedding":
        raise ConfigError(
            f"pi05: policy.conditioning = 'continuous': graded conditions have no words, and network.condition = "
            f"{config.network.condition!r}",
            hint="--set policy.model.network.condition=embedding",
        )


def _typed(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check(config: Pi05Config, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the policy could not be trained for these prompts on this robot."""
    actions, states = len(robot.action_names), len(robot.state_names)
    # 0: as many as the robot has.
    if 0 < config.network.action_dim < actions:
        raise ConfigError(
            f"pi05: network.action_dim = {config.network.action_dim} is less than the robot's {actions} actions",
            hint=f"--set policy.model.network.action_dim={actions}",
        )
    if config.network.cameras not in (0, len(robot.cameras)):
        raise ConfigError(
            f"pi05: network.cameras = {config.network.cameras}, the robot has {len(robot.cameras)}",
            hint="--set policy.model.network.cameras=0   (as many as there are)",
        )
    if config.network.vocab_size < VOCAB_SIZE:
        raise ConfigError(
            f"pi05: network.vocab_size = {config.network.vocab_size}, prompts have {VOCAB_SIZE} different tokens",
            hint=f"--set policy.model.network.vocab_size={VOCAB_SIZE}",
        )
    if relative := relative_dims(config, robot):
        from data.normalise import check_relative_dims

        try:
            check_relative_dims(relative, states, actions)
        except ConfigError as error:
            raise ConfigError(
                f"pi05: relative_actions: {error.message}",
                hint="--set policy.model.relative_actions=false",
            ) from error
    for prompt in prompts:
        tokens = max(len(encode(prompt_text(prompt, [0] * states, condition=condition))) for condition in TEXTS)
        if tokens > config.prompt_tokens:
            raise ConfigError(
                f"pi05: the prompt {prompt!r} and {states} state values take {tokens} tokens, expected at most "
                f"{config.prompt_tokens}",
                hint=f"--set policy.model.prompt_tokens={tokens}",
            )
