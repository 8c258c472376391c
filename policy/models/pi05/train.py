"""Training a pi0.5 policy from batches to a bundle on disk. Resumable at any moment; deterministic with one thread."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from policy.models.pi05.bundle import BundleInfo, write_bundle
from policy.models.pi05.config import Pi05Config, relative_dims
from policy.models.pi05.initialise import initialise
from policy.models.pi05.learner import Pi05Learner, check_images
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import FIRST_BIN
from policy.models.pi05.scaling import PolicyStats
from recap.config import semantic_dict, to_json
from recap.errors import ConfigError
from recap.protocols import BatchSource, Journal
from recap.specs import RobotSpec
from recap.training.fit import fit


def train(
    config: Pi05Config,
    batches: BatchSource,
    stats: Mapping[str, Any],
    *,
    task: str,
    robot: RobotSpec,
    cameras: tuple[str, ...],
    scratch: Path,
    out: Path,
    journal: Journal,
    data_identity: str = "",
) -> dict[str, float]:
    """Trains from scratch and writes the bundle to `out`.

    Args:
        config: what to train.
        batches: batches of `config.batch_size` with chunks of `config.chunk`, actions relative on
            `relative_dims(config, robot)` (data.batches.TrainingBatches).
        stats: `data.normalise.Stats.to_json()` of the same data, chunk and relative dimensions.
        task: the instruction, in words.
        robot: names and units of state and action.
        cameras: names in the order of the batches' images.
        scratch: survives attempts; checkpoints lie there.
        out: folder to make; replaced if an earlier attempt left it half written.
        journal: told how training goes.
        data_identity: identity of the training data; a resume on other data is refused.

    Returns:
        Figures of the training (loss, parameters, steps), equal for a resumed and an uninterrupted run.

    Raises:
        ConfigError: batches and config do not fit.
        ResumeRefused: `scratch` holds a checkpoint of another training, or an incomplete one.
    """
    relative = relative_dims(config, robot)
    sizes = config.network
    sizes = replace(
        sizes, action_dim=sizes.action_dim or len(robot.action_names), cameras=sizes.cameras or len(cameras)
    )
    scaling = PolicyStats.from_json(stats, relative=bool(relative))
    _check(config, batches.batch(0), robot, cameras, action_dim=sizes.action_dim)
    if relative and (tuple(stats["relative_dims"]) != relative or stats["chunk"] != config.chunk):
        raise ConfigError(
            f"pi05: stats of chunk {stats['chunk']} relative on {stats['relative_dims']}, "
            f"expected chunk {config.chunk} relative on {list(relative)}"
        )
    network = Pi05Network(sizes)
    initialise(network, seed=config.seed, first_bin=FIRST_BIN)
    learner = Pi05Learner(network, task=task, stats=scaling, draws=config.draws, shift_pixels=config.shift_pixels)
    result = fit(
        learner,
        batches,
        config.fit,
        seed=config.seed,
        scratch=scratch,
        journal=journal,
        fingerprint={"policy": semantic_dict(config), "network": to_json(sizes), "task": task, "data": data_identity},
    )
    info = BundleInfo(
        network=sizes,
        task=task,
        chunk=config.chunk,
        execute=config.execute,
        euler_steps=config.euler_steps,
        prompt_tokens=config.prompt_tokens,
        cameras=cameras,
        state_names=robot.state_names,
        action_names=robot.action_names,
        relative_dims=relative,
        stats=scaling,
    )
    if out.exists():
        shutil.rmtree(out)
    write_bundle(out, network, info)
    figures = {"steps": float(result.steps), "parameters": float(result.parameters)}
    return figures if result.steps == 0 else {**figures, "loss": result.loss}


def _check(
    config: Pi05Config, batch: Mapping[str, Any], robot: RobotSpec, cameras: tuple[str, ...], *, action_dim: int
) -> None:
    images, action = batch["images"], batch["action"]
    if action.shape[1:] != (config.chunk, len(robot.action_names)):
        raise ConfigError(
            f"pi05: batches hold action chunks {action.shape[1:]}, expected ({config.chunk}, {len(robot.action_names)})"
        )
    if batch["state"].shape[1] != len(robot.state_names) or images.shape[1] != len(cameras):
        raise ConfigError(
            f"pi05: batches hold {batch['state'].shape[1]} state values and {images.shape[1]} cameras, "
            f"expected {len(robot.state_names)} and {len(cameras)}"
        )
    if action_dim < action.shape[2]:
        raise ConfigError(f"pi05: network.action_dim = {action_dim} is less than the robot's {action.shape[2]} actions")
    check_images(images, config.network.image_size)
