"""What a training of such a network needs, computed without doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from policy.flow.config import FlowConfig, network_sizes, tokenizer_of
from policy.flow.learner import FlowLearner
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from recap.specs import RobotSpec
from recap.training.needs import Needs, training_needs
from recap.training.runtime import CPU, Runtime


def flow_needs(
    kind: type[FlowNetwork],
    config: FlowConfig,
    batch: Mapping[str, Any],
    stats: Mapping[str, Any],
    *,
    prompts: Sequence[str],
    robot: RobotSpec,
    cameras: tuple[str, ...],
    runtime: Runtime = CPU,
) -> Needs:
    """What one gradient step takes.

    Args:
        kind: network of the family.
        config: of the training.
        batch: one, as it would be trained on; only its shapes matter.
        stats: of the data, as for `policy.flow.train.train`.
        prompts: the instructions.
        robot: whose actions and state they are.
        cameras: in the order of the batch's images.
        runtime: number format and samples per forward pass.
    """
    sizes = network_sizes(config, robot, cameras)
    scaled = PolicyStats.from_json(stats, relative=config.relative_actions, scaling=kind.scaling)
    with torch.device("meta"):
        network = kind(sizes, tokenizer_of(config))
        bundle = sum(value.nbytes for value in network.state_dict().values())
        if config.lora.rank:
            from policy.flow.lora import adapt

            adapt(network, config.lora, seed=0, runtime=runtime)
    learner = FlowLearner(network, prompts=prompts, stats=scaled, draws=config.draws, shift_pixels=config.shift_pixels)
    needs = training_needs(learner, learner.prepare(batch, torch.Generator().manual_seed(0)), runtime)
    return replace(needs, bundle=bundle)
