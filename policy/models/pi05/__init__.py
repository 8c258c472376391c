"""pi0.5: LeRobot's policy in full size, and the same network small enough to learn on one core.

Registering imports neither torch nor LeRobot: both wait until a policy is trained or loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.models import POLICIES, Acting, PolicyFamily
from policy.models.pi05.checks import check, check_conditioning
from policy.models.pi05.config import Pi05Config, base_config, relative_dims, small_preset, tiny_preset
from recap.training.runtime import CPU, Runtime

if TYPE_CHECKING:
    from policy.models.pi05.acting import Pi05Actor


def _train(*args: Any, **kwargs: Any) -> dict[str, float]:
    from policy.models.pi05.train import train

    return train(*args, **kwargs)


def _load(path: Path, *, runtime: Runtime = CPU) -> Pi05Actor:
    from policy.models.pi05.acting import load_policy

    return load_policy(path, runtime=runtime)


def _with_acting(path: Path, out: Path, acting: Acting) -> str:
    from policy.models.pi05.bundle import with_acting

    return with_acting(path, out, acting)


def _with_condition(path: Path, out: Path, words: str) -> str:
    from policy.models.pi05.bundle import with_condition

    return with_condition(path, out, words)


POLICIES.add(
    "pi05",
    PolicyFamily(
        name="pi05",
        config=Pi05Config,
        presets={"tiny": tiny_preset, "small": small_preset},
        relative_dims=relative_dims,
        image_size=lambda config: (config.network.image_size, config.network.image_size),
        check=check,
        check_conditioning=check_conditioning,
        base=base_config,
        train=_train,
        load=_load,
        networks=True,
        acts_by=("guidance", "noise_scale"),
        with_acting=_with_acting,
        with_condition=_with_condition,
    ),
)
