"""Synthetic robots, batches and bundles for tests of policies, here and in plug-ins. Learnable, seeded, tiny.

The data has one rule a network can find: the action is half the state, the same at every step of the chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policy.conditioning import ConditionedBatches, WeightedBatches
from policy.models import POLICIES, candidates
from recap.protocols import BatchSource
from recap.specs import CameraSpec, RobotSpec
from recap.training.runtime import CPU, Runtime
from recap.types import Observation
from tests.support.fakes import MemoryJournal

TASK = "fold the shirt"
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
NAMES = tuple(f"{side}_{part}" for side in ("left", "right") for part in (*(f"joint_{i}" for i in range(6)), "gripper"))
PAIR_GRIPPERS = (6, 13)
SYNTHETIC_ROWS = 64
"""Rows that the batches' "index" counts through: how many labels they need."""


def arm_pair(image_size: int = 64) -> RobotSpec:
    """Two arms with grippers: 14 numbers, three cameras."""
    return RobotSpec(
        id="synthetic_pair",
        state_names=NAMES,
        action_names=NAMES,
        action_units=tuple("0..1" if dim in PAIR_GRIPPERS else "rad" for dim in range(len(NAMES))),
        gripper_dims=PAIR_GRIPPERS,
        cameras=tuple(CameraSpec(name=name, height=image_size, width=image_size) for name in CAMERAS),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticBatches:
    """batch(step) is a pure function of (seed, step)."""

    batch_size: int
    chunk: int
    image_size: int = 64
    seed: int = 0
    relative: tuple[int, ...] = ()

    def batch(self, step: int) -> Mapping[str, Any]:
        """Arrays shaped like data.batches.Batch."""
        rng = np.random.default_rng([self.seed, step])
        size = self.image_size
        state = rng.uniform(-1, 1, (self.batch_size, len(NAMES))).astype(np.float32)
        action = np.repeat(0.5 * state[:, None], self.chunk, axis=1)
        action[:, :, list(self.relative)] -= state[:, None, list(self.relative)]
        last = rng.integers(1, self.chunk + 1, self.batch_size)
        return {
            "images": rng.integers(0, 256, (self.batch_size, len(CAMERAS), size, size, 3), dtype=np.uint8),
            "state": state,
            "action": action,
            "action_is_pad": np.arange(self.chunk)[None] >= last[:, None],
            "index": np.arange(step * self.batch_size, (step + 1) * self.batch_size) % SYNTHETIC_ROWS,
        }


def synthetic_stats(chunk: int, relative: tuple[int, ...]) -> dict[str, Any]:
    """Figures that fit SyntheticBatches, in the form of data.normalise.Stats.to_json()."""
    unit = {"q01": [-1.0] * len(NAMES), "q99": [1.0] * len(NAMES)}
    half = {"q01": [-0.5] * len(NAMES), "q99": [0.5] * len(NAMES)}
    return {
        "state": unit,
        "action": half,
        "relative_action": half if relative else None,
        "relative_dims": list(relative),
        "chunk": chunk,
    }


def make_observation(seed: int, image_size: int = 64) -> Observation:
    """A random observation of the synthetic pair."""
    rng = np.random.default_rng(seed)
    return Observation(
        state=rng.uniform(-1, 1, len(NAMES)).astype(np.float32),
        frames={name: rng.integers(0, 256, (image_size, image_size, 3), dtype=np.uint8) for name in CAMERAS},
        prompt=TASK,
    )


def train_synthetic(
    family: str,
    config: Any,
    folder: Path,
    journal: MemoryJournal | None = None,
    *,
    condition: str = "",
    base: Path | None = None,
    seed: int = 0,
    runtime: Runtime = CPU,
    graded: bool = False,
    weighted: bool = False,
) -> dict[str, float]:
    """Trains on SyntheticBatches: scratch in `folder`/scratch, candidates in `folder`/policy.

    With a condition every second row counts as positive, or the rows' levels rise from -1 to 1 (`graded`). `weighted`
    rows count the more the later they stand.
    """
    chosen, robot = POLICIES.get(family), arm_pair()
    relative = chosen.relative_dims(config, robot)
    batches: BatchSource = SyntheticBatches(
        batch_size=config.batch_size,
        chunk=config.chunk,
        image_size=chosen.image_size(config)[0],
        seed=seed,
        relative=relative,
    )
    rising = np.linspace(-1, 1, SYNTHETIC_ROWS, dtype=np.float32)
    if weighted:
        batches = WeightedBatches(batches, np.exp(rising))
    if graded:
        batches = ConditionedBatches(batches, None, level=rising, seed=seed)
    elif condition:
        batches = ConditionedBatches(batches, np.arange(SYNTHETIC_ROWS) % 2 == 0, seed=seed)
    return chosen.train(
        config,
        batches,
        synthetic_stats(config.chunk, relative),
        prompts=(TASK,),
        robot=robot,
        cameras=CAMERAS,
        scratch=folder / "scratch",
        out=folder / "policy",
        journal=journal or MemoryJournal(),
        data_identity="synthetic",
        base=base,
        condition=condition,
        seed=seed,
        runtime=runtime,
    )


def moved(bundle: Path, out: Path) -> Path:
    """A pi05 bundle whose weights are moved at random, far enough for every part of the network to have its say."""
    import torch

    from policy.flow.bundle import read_bundle, write_bundle
    from policy.models.pi05.network import Pi05Network

    network, info = read_bundle(Pi05Network, bundle)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    write_bundle(out, network, info)
    return out


def last_candidate(folder: Path) -> Path:
    """The bundle at the end of the training that `train_synthetic` did in `folder`."""
    return candidates(folder / "policy")[-1][1]
