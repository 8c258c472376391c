"""The families of policies. One folder registers itself here; nothing lists the folders.

Owns what a family must offer. Knows no network: importing this package costs neither torch nor LeRobot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.teaching import GRADED
from recap.errors import ArtifactCorrupt, ConfigError
from recap.protocols import Policy
from recap.registry import Registry
from recap.specs import RobotSpec
from recap.training.runtime import CPU, Runtime
from recap.types import FloatArray, Observation

if TYPE_CHECKING:
    from recap.training.needs import Needs


def _one_way(bundle: Path, out: Path, acting: Acting) -> str:
    raise ConfigError(
        f"the policy of {bundle} acts in one way only, not with {acting}",
        hint="--set checkpoint_selection.guidance=1 --set checkpoint_selection.noise_scale=1",
    )


def _one_condition(bundle: Path, out: Path, words: str) -> str:
    raise ConfigError(
        f"the policy of {bundle} hears one condition only, not {words!r}", hint="--set condition_probe.attempts=0"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Acting:
    """How the weights of a policy act; as trained, unless said otherwise."""

    guidance: float = 1.0
    """beta: unconditioned + beta (conditioned - unconditioned)."""
    noise_scale: float = 1.0
    """Factor on the noise that the flow of an action chunk starts from; 0: always from its mean."""

    def __str__(self) -> str:
        return f"guidance {self.guidance:g} and noise scale {self.noise_scale:g}"


def _told_in_codes(config: Any, way: str) -> None:
    if way in GRADED:
        raise ConfigError(
            f"policy.conditioning = '{way}': {type(config).__name__} reads neither levels nor weights",
            hint="--set policy.conditioning=hard",
        )


def _shorter(config: Any, steps: int) -> Any:
    return replace(config, fit=replace(config.fit, steps=steps))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainedFor:
    """What a bundle says of the robot and the instructions that it was trained on."""

    prompts: tuple[str, ...]
    """In words."""
    cameras: tuple[str, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    state_range: tuple[FloatArray, FloatArray]
    """[S] 1 % and 99 % quantile of the state, in its units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A folder that LeRobot loads."""

    type: str
    """LeRobot's name for such policies."""
    note: str
    """Why it is not a type that LeRobot has itself; "" if it is, or there is none."""
    difference: float
    """Largest difference of an action to recap's own, in its unit."""
    execute: int
    """Actions of a chunk that are meant to be sent."""
    relative: bool
    """Some actions are planned relative to the state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFamily:
    """What a policy folder offers to the pipelines."""

    name: str
    config: type[Any]
    """Frozen configuration class, with `chunk`, `execute`, `batch_size` and `fit` (FitConfig) fields."""
    presets: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """{size: preset(steps=, fine=) -> settings}: "tiny" for tests, "small" for simulation; `fine`: for grasps within a
    few pixels. A family without a size is used with its default settings."""
    relative_dims: Callable[[Any, RobotSpec], tuple[int, ...]] = lambda config, robot: ()
    """Action dimensions that training batches must hold relative to the state."""
    image_size: Callable[[Any], tuple[int, int]]
    """(h, w) that it reads pictures at; its training batches have this size, and it letterboxes what it acts on."""
    check: Callable[..., None] = lambda config, *, prompts, robot: None
    """check(config, prompts=, robot=) raises ConfigError for what it cannot be trained for. Costs no torch."""
    check_files: Callable[[Any, RobotSpec], None] = lambda config, robot: None
    """check_files(config, robot) raises ConfigError for published weights to start from that are not this network's, by
    names and shapes. May import torch."""
    check_conditioning: Callable[[Any, str], None] = _told_in_codes
    """check_conditioning(config, way) raises ConfigError for a way of policy.teaching that it cannot learn in."""
    train: Callable[..., dict[str, float]]
    """train(config, batches, stats_json, *, prompts, robot, cameras, scratch, out, journal, data_identity="",
    base=None, condition="", seed=0) -> figures; writes a bundle folder `out`/step-<n> per candidate (`candidates`).
    `base` is a bundle to start from, `condition` the words of policy.conditioning that the bundles act with."""
    load: Callable[..., Policy]
    """load(path) -> the policy of a bundle folder."""
    acts_by: tuple[str, ...] = ()
    """Fields of Acting that its policies follow."""
    with_acting: Callable[[Path, Path, Acting], str] = _one_way
    """with_acting(bundle, out, acting) -> policy id: writes to `out` the same policy that acts so."""

    with_condition: Callable[[Path, Path, str], str] = _one_condition
    """with_condition(bundle, out, words) -> policy id: writes to `out` the same policy that hears other words of
    policy.conditioning; "" for none."""

    @property
    def conditioned(self) -> bool:
        """Whether its policies can be told another condition."""
        return self.with_condition is not _one_condition

    base: Callable[[Any, int], Any] = _shorter
    """base(config, steps) -> settings of the training of the weights that a training with `config` starts from."""

    needs: Callable[..., Needs] | None = None
    """needs(config, batch, stats_json, *, prompts, robot, cameras, runtime) -> what a training needs, without doing it.
    None: nobody knows."""
    check_checkpoint: Callable[[Path], tuple[str, list[str]]] | None = None
    """check_checkpoint(folder) -> (what it is, a line per tensor that does not fit), from headers alone
    (policy.flow.headers)."""

    licences: Mapping[str, str] = field(default_factory=dict)
    """{setting that names published weights: what is known of their licence where nothing that lies with them says}"""

    loaded_by: tuple[str, ...] = ()
    """Other libraries that load its bundles as they lie there."""

    export: Callable[[Path, Path, Path, Sequence[Observation]], Exported] | None = None
    """export(bundle, out, place, observations): writes to `out`, which is moved to `place` afterwards, a folder that
    LeRobot loads and `load` takes too, and has LeRobot act from it on the observations, which share an instruction.
    None: LeRobot cannot load its policies."""
    trained_for: Callable[[Path], TrainedFor] | None = None
    """trained_for(bundle) -> what it says of robot and instructions. None: its bundles do not say."""

    networks: bool = False
    """Computes with torch: its train and load take a further argument, runtime= (see `at`)."""

    def at(self, runtime: Runtime) -> dict[str, Runtime]:
        """The argument that tells train and load where to compute; none for a family without networks."""
        return {"runtime": runtime} if self.networks else {}


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


def candidates(folder: Path) -> tuple[tuple[int, Path], ...]:
    """(gradient steps, bundle folder) of every candidate that a training wrote to `folder`, in order of steps.

    Raises:
        ArtifactCorrupt: there is none.
    """
    found = sorted((int(path.name.removeprefix("step-")), path) for path in folder.glob("step-*") if path.is_dir())
    if not found:
        raise ArtifactCorrupt(f"{folder} holds no candidate policy: expected folders step-<number of steps>")
    return tuple(found)


def with_acting(bundle: Path, out: Path, acting: Acting) -> str:
    """Writes to `out` (not there yet) the policy of any bundle, acting as asked; returns its policy id.

    Raises:
        ArtifactCorrupt: the folder has no readable recap.json.
        ConfigError: that policy cannot act so.
    """
    return family_of_bundle(bundle).with_acting(bundle, out, acting)


def with_condition(bundle: Path, out: Path, words: str) -> str:
    """Writes to `out` (not there yet) the policy of any bundle, hearing `words`; returns its policy id.

    Raises:
        ArtifactCorrupt: the folder has no readable recap.json.
        ConfigError: that policy cannot hear them.
    """
    return family_of_bundle(bundle).with_condition(bundle, out, words)


def load_policy(path: Path, *, runtime: Runtime = CPU) -> Policy:
    """The policy of any bundle folder, by the family its recap.json names, acting where `runtime` says.

    Raises:
        ArtifactCorrupt: the folder has no readable recap.json.
        UnknownName: no such family.
    """
    family = family_of_bundle(path)
    return family.load(path, **family.at(runtime))


def family_of_bundle(path: Path) -> PolicyFamily:
    """The family that the recap.json of a bundle folder names; errors as `load_policy`."""
    try:
        family = json.loads((path / "recap.json").read_bytes())["family"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json does not name a family ({error!r})") from error
    if not isinstance(family, str):
        raise ArtifactCorrupt(f"policy bundle {path}: recap.json: family {family!r}, expected a name")
    return POLICIES.get(family)
