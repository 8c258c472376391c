"""What a study asks: which arms, at which tasks, over how many training seeds, in which variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recap.config import setting, validate
from recap.errors import ConfigError, UnknownName
from recap.registry import Registry
from recap.workspace import check_name

STANDARD = "standard"
"""The variant that the claims are about."""
IMITATION = "imitation"
"""The arm of iteration 0. It is the same in every variant, and measured once."""
MAIN = "viva"
"""The arm whose policy the run's own nodes train, where the study has it; the others stand beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Runs that differ from the standard ones."""

    arms: tuple[str, ...]
    settings: tuple[str, ...] = ()
    """--set of these runs, after those of the study."""
    iterations: int = setting(1, minimum=1, maximum=1000, help="from 2 on each arm collects with its own policy")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """A study.

    Raises:
        ConfigError: no task, no arm beside imitation, or a variant of an arm that is not of the study.
    """

    tasks: tuple[str, ...]
    """They weigh equally in what is pooled."""
    arms: tuple[str, ...]
    seeds: int = setting(5, minimum=1, maximum=1000, help="training seeds of every arm, counted from 0")
    fewer: Mapping[str, int] = field(default_factory=dict)
    """{arm: training seeds of those that have fewer}."""
    starts: int = setting(100, minimum=1, maximum=1_000_000, help="TEST starts per cell")
    preset: str = "sim"
    policy: str = ""
    """Family of the policies; "": that of the preset."""
    settings: tuple[str, ...] = ()
    """--set of every run; those of the judge only where a value model is judged."""
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate(self)
        if not self.tasks or set(self.arms) <= {IMITATION}:
            raise ConfigError(f"a study of tasks {self.tasks} and arms {self.arms}: expected some of both")
        for arm, count in self.fewer.items():
            if arm not in self.arms or not 1 <= count < self.seeds:
                raise ConfigError(
                    f"StudyConfig.fewer: {arm} has {count} of {self.seeds} seeds, expected an arm with fewer"
                )
        for arms in (self.arms, *(variant.arms for variant in self.variants.values())):
            if (main := main_of(arms)) in self.fewer:
                raise ConfigError(
                    f"StudyConfig.fewer: {main} is the run's own arm, whose labels `random` permutes, expected all "
                    f"{self.seeds} seeds of it"
                )
        for name, variant in self.variants.items():
            check_name("variant", name)
            for arm in variant.arms:
                if arm not in self.arms or arm == IMITATION:
                    raise ConfigError(f"variant '{name}' of arm '{arm}': expected arms of the study beside imitation")

    def seeds_of(self, arm: str) -> int:
        """How many training seeds an arm has."""
        return self.fewer.get(arm, self.seeds)

    def arms_of(self, variant: str, seed: int) -> tuple[str, ...]:
        """Arms that a variant has at a training seed, imitation first where it has that.

        Raises:
            UnknownName: no such variant.
        """
        if variant == STANDARD:
            listed = sorted(self.arms, key=lambda arm: arm != IMITATION)
        elif variant in self.variants:
            listed = list(self.variants[variant].arms)
        else:
            raise UnknownName.among("variant", variant, (STANDARD, *self.variants))
        return tuple(arm for arm in listed if seed < self.seeds_of(arm))


def main_of(arms: Sequence[str]) -> str:
    """The arm that is the run's own: viva, or else the first that is labelled; imitation where none is."""
    labelled = [arm for arm in arms if arm != IMITATION]
    return MAIN if MAIN in labelled or not labelled else labelled[0]


STUDIES: Registry[StudyConfig] = Registry("study", packages=("pipelines.study.presets",))
