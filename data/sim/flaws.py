"""How the scripted expert errs: structured flaws that a whole episode shares, drawn from the start seed.

Zero-mean noise is averaged away by imitation; a mode that the pictures do not betray is not, least of all a habit that
most of the demonstrators share. Owns the draw; the expert applies it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data.sim.seeds import stream
from recap.config import setting, validate
from recap.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

USUAL_SHARE = 0.5
"""Share of flawed episodes where neither the settings nor the task say another."""
MODES = ("clean", "biased", "skipping", "hesitant", "fumbling")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlawConfig:
    """Shares and sizes of the flaws."""

    flawed_share: float | None = setting(
        None,
        minimum=0,
        maximum=1,
        help="share of episodes with a structured flaw, the others carry only noise_m; none: the task's own share",
    )
    noise_m: float = setting(
        0.008, minimum=0, maximum=0.3, help="standard deviation of every grasp and place target, m"
    )
    biased_weight: float = setting(
        0.8, minimum=0, help="weight, among flawed episodes, of places off in one direction (mostly failures)"
    )
    skipping_weight: float = setting(0.05, minimum=0, help="weight of episodes that leave a stage out (failures)")
    hesitant_weight: float = setting(
        0.08, minimum=0, help="weight of slow episodes with pauses and a repeated stage (slow successes)"
    )
    fumbling_weight: float = setting(
        0.07, minimum=0, help="weight of episodes whose first grasps are off and often miss (slow successes)"
    )
    bias_m: float = setting(0.08, minimum=0, maximum=0.3, help="size of the place bias, m")
    bias_deg: float = setting(
        -90.0,
        minimum=-180,
        maximum=180,
        help="middle of its directions on the table, degrees (-90: to the arms)",
    )
    bias_spread_deg: float = setting(
        40.0, minimum=0, maximum=180, help="how far its direction may be from the middle; 180: any, no shared habit"
    )
    fumble_m: float = setting(0.055, minimum=0, maximum=0.3, help="size of the grasp bias of the first try, m")
    slow_factor: float = setting(0.7, minimum=0.1, maximum=1, help="speed of hesitant episodes relative to clean ones")
    pause_share: float = setting(
        0.2, minimum=0, maximum=1, help="share of the phases of a flawed episode that begin with a pause"
    )
    pause_steps: int = setting(6, minimum=1, maximum=100, help="longest pause, control steps")

    def __post_init__(self) -> None:
        validate(self)
        if self.flawed_share != 0 and sum(self.weights().values()) <= 0:
            raise ConfigError("FlawConfig: every *_weight is 0 although flawed_share is not 0")

    def weights(self) -> dict[str, float]:
        """Weight of each flawed mode."""
        return {name: float(getattr(self, f"{name}_weight")) for name in MODES[1:]}


CLEAN = FlawConfig(flawed_share=0.0)
"""Only the 8 mm target noise."""
PERFECT = FlawConfig(flawed_share=0.0, noise_m=0.0)
"""No noise either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeFlaws:
    """The flaws of one episode."""

    mode: str
    noise_m: float
    place_bias_m: tuple[float, float] = (0.0, 0.0)
    """Added to every place target."""
    first_grasp_bias_m: tuple[float, float] = (0.0, 0.0)
    """Added to the grasp targets of the first try of a stage."""
    skipped: int | None = None
    """Which stage is left out, as a number to take modulo the number of stages."""
    repeats: bool = False
    """One finished stage is done again."""
    speed: float = 1.0
    pause_share: float = 0.0
    pause_steps: int = 0
    checks: bool = True
    """Looks at the result and corrects it; a flawed operator does every stage once."""

    @property
    def flawed(self) -> bool:
        return self.mode != "clean"

    def skipped_of(self, stages: int) -> int | None:
        """Which of so many stages is left out, if any."""
        return None if self.skipped is None else self.skipped % stages

    def draw_pause(self, rng: np.random.Generator) -> int:
        """Control steps to wait before the next phase; mostly 0. Draws nothing where there are no pauses."""
        if not (self.pause_share and rng.random() < self.pause_share):
            return 0
        return int(rng.integers(1, self.pause_steps + 1))


STEADY = EpisodeFlaws(mode="clean", noise_m=0.0)
"""No flaw and no noise."""


def draw_flaws(config: FlawConfig, seed: int, *, usual_share: float = USUAL_SHARE) -> EpisodeFlaws:
    """The flaws of the episode that starts from `seed`. A pure function.

    Args:
        config: shares and sizes.
        seed: start seed. An episode that is flawed at one share is flawed in the same way at every larger one.
        usual_share: share of flawed episodes where `config` names none.
    """
    rng = stream("flaws", seed)
    share, pick, direction, skipped = rng.random(4)
    if share >= (usual_share if config.flawed_share is None else config.flawed_share):
        return EpisodeFlaws(mode="clean", noise_m=config.noise_m)
    weights = config.weights()
    edge, mode = pick * sum(weights.values()), MODES[-1]
    for name, weight in weights.items():
        if edge < weight:
            mode = name
            break
        edge -= weight
    turn = 2.0 * direction - 1.0
    angle = 2.0 * math.pi * direction
    habit = math.radians(config.bias_deg + config.bias_spread_deg * turn)
    toward = (math.cos(angle), math.sin(angle))
    base = EpisodeFlaws(
        mode=mode, noise_m=config.noise_m, pause_share=config.pause_share, pause_steps=config.pause_steps
    )
    if mode == "biased":
        off = (config.bias_m * math.cos(habit), config.bias_m * math.sin(habit))
        return replace(base, place_bias_m=off, checks=False)
    if mode == "skipping":
        return replace(base, skipped=int(skipped * 12), checks=False)
    if mode == "hesitant":
        return replace(base, repeats=True, speed=config.slow_factor)
    return replace(base, first_grasp_bias_m=(config.fumble_m * toward[0], config.fumble_m * toward[1]))
