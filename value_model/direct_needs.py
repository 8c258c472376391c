"""What the training of a direct network needs, computed without doing it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recap.specs import RobotSpec
from recap.training.needs import Needs, training_needs
from recap.training.runtime import Runtime
from value_model.direct import Build, DirectConfig, DirectLearner, Inputs
from value_model.views import view_positions


def direct_needs(
    family: str,
    build: Build,
    config: DirectConfig,
    image_size: tuple[int, int],
    *,
    prompts: Sequence[str],
    robot: RobotSpec,
    runtime: Runtime,
) -> Needs:
    """What one gradient step takes of a network that `build` makes for pictures [h, w]."""
    views = [robot.camera_names[place] for place in view_positions(robot.camera_names, config.views, family=family)]
    states, count = len(robot.state_names), config.batch_size
    inputs = Inputs(views=tuple(views), image_size=image_size, state_dim=states, prompts=tuple(sorted(set(prompts))))
    with torch.device("meta"):
        network = build(config, inputs)
    learner = DirectLearner(network, config.shift_pixels)
    batch = {
        "images": torch.zeros(count, len(views), *image_size, 3, dtype=torch.uint8),
        "state": torch.zeros(count, states),
        "value": torch.zeros(count),
        "prompt": torch.zeros(count, dtype=torch.long),
    }
    return training_needs(learner, learner.prepare(batch, torch.Generator().manual_seed(0)), runtime)
