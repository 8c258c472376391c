"""How the scripted expert errs: structured flaws that a whole episode shares, drawn from the start seed.

Zero-mean noise is averaged away by imitation; a mode that the pictures do not betray is not. Owns the draw; the
expert applies it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.sim.seeds import stream
from recap.errors import ConfigError

MODES = ("clean", "biased", "skipping", "hesitant", "fumbling")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlawConfig:
    """Shares and sizes of the flaws."""

    flawed_share: float = 0.5
    """Share of episodes with a structured flaw, [0, 1]; the others carry only `noise_m`."""
    noise_m: float = 0.008
    """Standard deviation of every grasp and place target, m."""
    biased_weight: float = 0.5
    """Weight, among flawed episodes, of places that are off in one direction all episode long (mostly failures)."""
    skipping_weight: float = 0.15
    """Weight of episodes that leave a stage out (failures)."""
    hesitant_weight: float = 0.2
    """Weight of slow episodes with pauses and a repeated stage (slow successes)."""
    fumbling_weight: float = 0.15
    """Weight of episodes whose first grasps miss and are done again (slow successes)."""
    bias_m: float = 0.085
    """Size of the place bias, m."""
    fumble_m: float = 0.055
    """Size of the grasp bias of the first try, m."""
    slow_factor: float = 0.6
    """Speed of hesitant episodes relative to clean ones, (0, 1]."""
    pause_share: float = 0.25
    """Share of the phases of a flawed episode that begin with a pause, [0, 1]."""
    pause_steps: int = 6
    """Longest pause, control steps."""

    def __post_init__(self) -> None:
        for name in ("flawed_share", "pause_share"):
            self._within(name, 0.0, 1.0)
        for name in ("noise_m", "bias_m", "fumble_m"):
            self._within(name, 0.0, 0.3)
        for name in self.weights():
            self._within(f"{name}_weight", 0.0, math.inf)
        self._within("slow_factor", 0.1, 1.0)
        self._within("pause_steps", 0, 100)
        if self.flawed_share > 0 and sum(self.weights().values()) <= 0:
            raise ConfigError("FlawConfig: every *_weight is 0 although flawed_share > 0")

    def _within(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise ConfigError(f"FlawConfig.{name}: got {value}, expected {low}..{high}")

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


def draw_flaws(config: FlawConfig, seed: int) -> EpisodeFlaws:
    """The flaws of the episode that starts from `seed`. A pure function."""
    rng = stream("flaws", seed)
    share, pick, direction, skipped = rng.random(4)
    if share >= config.flawed_share:
        return EpisodeFlaws(mode="clean", noise_m=config.noise_m)
    weights = config.weights()
    edge, mode = pick * sum(weights.values()), MODES[-1]
    for name, weight in weights.items():
        if edge < weight:
            mode = name
            break
        edge -= weight
    angle = 2.0 * math.pi * direction
    toward = (math.cos(angle), math.sin(angle))
    pauses = {"pause_share": config.pause_share, "pause_steps": config.pause_steps}
    if mode == "biased":
        bias = (config.bias_m * toward[0], config.bias_m * toward[1])
        return EpisodeFlaws(mode=mode, noise_m=config.noise_m, place_bias_m=bias, checks=False, **pauses)
    if mode == "skipping":
        return EpisodeFlaws(mode=mode, noise_m=config.noise_m, skipped=int(skipped * 12), checks=False, **pauses)
    if mode == "hesitant":
        return EpisodeFlaws(mode=mode, noise_m=config.noise_m, repeats=True, speed=config.slow_factor, **pauses)
    miss = (config.fumble_m * toward[0], config.fumble_m * toward[1])
    return EpisodeFlaws(mode=mode, noise_m=config.noise_m, first_grasp_bias_m=miss, **pauses)
