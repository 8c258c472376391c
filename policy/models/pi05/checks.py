"""What pi0.5 cannot take, known from its settings, the prompts and the robot alone: asked before any training."""

from __future__ import annotations

from collections.abc import Sequence

from policy.conditioning import TEXTS
from policy.models.pi05.config import Pi05Config
from policy.models.pi05.prompt import encode, prompt_text
from recap.errors import ConfigError
from recap.specs import RobotSpec


def check(config: Pi05Config, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the policy could not be trained for these prompts on this robot."""
    actions, states = len(robot.action_names), len(robot.state_names)
    # 0: as many as the robot has.
    if 0 < config.network.action_dim < actions:
        raise ConfigError(
            f"pi05: network.action_dim = {config.network.action_dim} is less than the robot's {actions} actions",
            hint=f"--set policy.model.network.action_dim={actions} --set pretrain.model.network.action_dim={actions}",
        )
    for prompt in prompts:
        tokens = max(len(encode(prompt_text(prompt, [0] * states, tag=tag))) for tag in TEXTS)
        if tokens > config.prompt_tokens:
            raise ConfigError(
                f"pi05: the prompt {prompt!r} and {states} state values take {tokens} tokens, expected at most "
                f"{config.prompt_tokens}",
                hint=f"--set policy.model.prompt_tokens={tokens} --set pretrain.model.prompt_tokens={tokens}",
            )
