"""What a family cannot take, known from its settings, the prompts and the robot alone: asked before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from policy.flow.config import FlowConfig, relative_dims, tokenizer_of
from policy.flow.prompt import PromptForm
from policy.flow.sizes import MAX_SLOTS, MAX_STEPS, NetworkSizes
from recap.errors import ConfigError
from recap.specs import RobotSpec

SPARE_ROWS = 128
"""Of a published token embedding, beyond its tokenizer's vocabulary: at most this many."""
_START = "--set policy.model.start=DIR --set policy.model.tokenizer=DIR/tokenizer.json"


def check_conditioning(family: str, config: FlowConfig, conditioning: str) -> None:
    """Raises ConfigError for a way of conditioning (policy.teaching) that the network has no place for."""
    if conditioning == "continuous" and config.network.condition != "embedding":
        raise ConfigError(
            f"{family}: policy.conditioning = 'continuous': graded conditions have no words, and network.condition = "
            f"{config.network.condition!r}",
            hint="--set policy.model.network.condition=embedding",
        )


def _check_start(family: str, config: FlowConfig) -> None:
    if bool(config.start) != bool(config.tokenizer):
        raise ConfigError(
            f"{family}: start = {config.start!r} and tokenizer = {config.tokenizer!r}, expected both or none: "
            "published weights know the tokens of their own tokenizer alone",
            hint=_START,
        )
    if config.tokenizer and config.network.slot_embeddings:
        raise ConfigError(
            f"{family}: tokenizer = {config.tokenizer!r} with network.slot_embeddings: the slots of numbers are those "
            "of the local vocabulary",
            hint="--set policy.model.network.slot_embeddings=false",
        )


def check_published(family: str, config: FlowConfig, published: NetworkSizes) -> None:
    """Raises ConfigError for the published sizes, or adapters, without the weights that they are for."""
    sizes = config.network
    if not config.start and (sizes.text_width, sizes.depth) == (published.text_width, published.depth):
        raise ConfigError(
            f"{family}: the published sizes without published weights: nothing learns at that size from scratch",
            hint=_START,
        )
    if config.lora.rank and not config.start:
        # Those of a drawn expert's adaptive norms are zero: frozen, no layer of it would ever hear the time.
        raise ConfigError(
            f"{family}: lora.rank = {config.lora.rank} without published weights: adapters stand beside frozen "
            "weights, and drawn ones have learned nothing",
            hint=_START,
        )


def _check_relative_names(family: str, relative: Sequence[int], robot: RobotSpec) -> None:
    """Raises ConfigError where action i minus state i is no movement, or where LeRobot would take other actions so."""
    hint = "--set policy.model.relative_actions=false"
    for dim in relative:
        name = robot.action_names[dim]
        if name in robot.state_names and robot.state_names[dim] != name:
            raise ConfigError(
                f"{family}: relative_actions: action {dim} is {name} and state {dim} is {robot.state_names[dim]}: "
                "expected the state's numbers in the order of the action's",
                hint=hint,
            )
        # LeRobot leaves an action absolute if the name of one that stays so is a part of its own.
        kept = [robot.action_names[i] for i in robot.gripper_dims if robot.action_names[i].lower() in name.lower()]
        if kept:
            raise ConfigError(
                f"{family}: relative_actions: {name} holds the name of the gripper {kept[0]}, and LeRobot would leave "
                "both absolute: expected names of which none is a part of another",
                hint=hint,
            )


def check(family: str, form: PromptForm, config: FlowConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the policy could not be trained for these prompts on this robot."""
    _check_start(family, config)
    actions, states = len(robot.action_names), len(robot.state_names)
    # 0: as many as the robot has.
    if 0 < config.network.action_dim < actions:
        raise ConfigError(
            f"{family}: network.action_dim = {config.network.action_dim} is less than the robot's {actions} actions",
            hint=f"--set policy.model.network.action_dim={actions}",
        )
    if config.network.slot_embeddings and (config.chunk > MAX_STEPS or states >= MAX_SLOTS):
        raise ConfigError(
            f"{family}: chunk = {config.chunk} and {states} state numbers, expected at most {MAX_STEPS} and "
            f"{MAX_SLOTS - 1} with network.slot_embeddings",
            hint="--set policy.model.network.slot_embeddings=false",
        )
    if config.network.cameras not in (0, len(robot.cameras)):
        raise ConfigError(
            f"{family}: network.cameras = {config.network.cameras}, the robot has {len(robot.cameras)}",
            hint="--set policy.model.network.cameras=0   (as many as there are)",
        )
    form = replace(form, tokenizer=tokenizer_of(config))
    if config.network.vocab_size < form.tokenizer.size:
        raise ConfigError(
            f"{family}: network.vocab_size = {config.network.vocab_size}, prompts have {form.tokenizer.size} different "
            "tokens",
            hint=f"--set policy.model.network.vocab_size={form.tokenizer.size}",
        )
    if config.tokenizer and config.network.vocab_size > form.tokenizer.size + SPARE_ROWS:
        raise ConfigError(
            f"{family}: tokenizer {config.tokenizer} has {form.tokenizer.size} tokens and network.vocab_size is "
            f"{config.network.vocab_size}: it is not the one that those weights were trained with",
            hint=_START,
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
        _check_relative_names(family, relative, robot)
    for prompt in prompts:
        tokens = form.longest(prompt, states)
        if tokens > config.prompt_tokens:
            raise ConfigError(
                f"{family}: the prompt {prompt!r} and {states} state values take {tokens} tokens, expected at most "
                f"{config.prompt_tokens}",
                hint=f"--set policy.model.prompt_tokens={tokens}",
            )
