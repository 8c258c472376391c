"""The families of policies. One folder registers itself here; nothing lists the folders.

Owns what a family must offer. Knows no network: importing this package costs neither torch nor LeRobot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap.errors import ArtifactCorrupt, ConfigError
from recap.protocols import Policy
from recap.registry import Registry
from recap.specs import RobotSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFamily:
    """What a policy folder offers to the pipelines."""

    name: str
    config: type[Any]
    """Frozen configuration class, with `chunk`, `execute`, `batch_size`, `seed` and `fit` (FitConfig) fields."""
    presets: Mapping[str, Callable[..., Any]]
    """Configurations by size: "tiny" for tests, "small" for simulation."""
    relative_dims: Callable[[Any, RobotSpec], tuple[int, ...]]
    """Action dimensions that training batches must hold relative to the state."""
    train: Callable[..., dict[str, float]]
    """train(config, batches, stats_json, *, task, robot, cameras, scratch, out, journal, data_identity) -> figures;
    writes the bundle folder `out`."""
    load: Callable[[Path], Policy]
    """The policy of a bundle folder."""


POLICIES: Registry[PolicyFamily] = Registry("policy", packages=("policy.models",))


def family_of(config: Any) -> PolicyFamily:
    """The family that a configuration belongs to.

    Raises:
        ConfigError: no registered family has configurations of that class.
    """
    for family in map(POLICIES.get, POLICIES.names()):
        if type(config) is family.config:
            return family
    raise ConfigError(f"{type(config).__name__} belongs to no policy family; registered: {', '.join(POLICIES.names())}")


def load_policy(path: Path) -> Policy:
    """The policy of any bundle folder, by the family its recap.json names.

    Raises:
        ArtifactCorrupt: the folder has no readable recap.json.
        UnknownName: no such family.
    """
    try:
        family = json.loads((path / "recap.json").read_bytes())["family"]
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json does not name a family ({error!r})") from error
    return POLICIES.get(family).load(path)
