"""What a training would be given, made of noise: to measure or compute what it needs before there is any data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recap.errors import RecapError
from recap.hub import without_unfetched

if TYPE_CHECKING:
    from policy.models import PolicyFamily
    from recap.specs import RobotSpec
    from recap.training.needs import Needs
    from recap.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseBatches:
    """Batches of the shapes that the training of a policy for a robot has."""

    size: int
    chunk: int
    image: tuple[int, int]
    cameras: int
    state: int
    action: int
    relative: tuple[int, ...]

    @classmethod
    def of(cls, family: PolicyFamily, model: Any, robot: RobotSpec) -> NoiseBatches:
        """Those of a policy's settings."""
        return cls(
            size=model.batch_size,
            chunk=model.chunk,
            image=family.image_size(model),
            cameras=len(robot.cameras),
            state=len(robot.state_names),
            action=len(robot.action_names),
            relative=family.relative_dims(model, robot),
        )

    def batch(self, step: int) -> Mapping[str, Any]:
        """As data.batches.TrainingBatches gives them."""
        rng = np.random.default_rng(step)
        return {
            "images": rng.integers(0, 256, (self.size, self.cameras, *self.image, 3), dtype=np.uint8),
            "state": rng.uniform(-1, 1, (self.size, self.state)).astype(np.float32),
            "action": rng.uniform(-1, 1, (self.size, self.chunk, self.action)).astype(np.float32),
            "action_is_pad": np.zeros((self.size, self.chunk), np.bool_),
            "index": np.arange(self.size),
        }

    @property
    def stats(self) -> dict[str, Any]:
        """Figures of such data, in the form of data.normalise.Stats.to_json()."""

        def unit(width: int) -> dict[str, list[float]]:
            return {"mean": [0.0] * width, "std": [1.0] * width, "q01": [-1.0] * width, "q99": [1.0] * width}

        action = unit(self.action)
        return {
            "state": unit(self.state),
            "action": action,
            "relative_action": action if self.relative else None,
            "relative_dims": list(self.relative),
            "chunk": self.chunk,
        }


def policy_needs(model: Any, *, prompts: Sequence[str], robot: RobotSpec, runtime: Runtime) -> Needs | None:
    """What a training of a policy needs; None if its family does not know, or it cannot be trained at all."""
    from policy.models import family_of

    family, model = family_of(model), without_unfetched(model)
    if family.needs is None:
        return None
    with suppress(RecapError):  # the checks of the model say why, and they are another's business
        given = NoiseBatches.of(family, model, robot)
        return family.needs(
            model,
            given.batch(0),
            given.stats,
            prompts=prompts,
            robot=robot,
            cameras=robot.camera_names,
            runtime=runtime,
        )
    return None


def value_needs(model: Any, *, prompts: Sequence[str], robot: RobotSpec, runtime: Runtime) -> Needs | None:
    """The same of a value model."""
    from value_model.models import family_of

    needs, model = family_of(model).needs, without_unfetched(model)
    with suppress(RecapError):
        return None if needs is None else needs(model, prompts=prompts, robot=robot, runtime=runtime)
    return None
