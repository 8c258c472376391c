"""Every value family that trains a network, at its small size: seconds per gradient step and per labelled frame.

Both are taken end to end, as a run pays them: from packed pictures to weights, and from packed pictures to values.
"""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tests.support.fakes import MemoryJournal
from tests.support.values import synthetic_values

from value_model.models import VALUE_MODELS, ValueData

LEADS = ("viva", "vlm")


@dataclass
class Timing:
    """What was measured of a family."""

    parameters: float = 0.0
    step_s: list[float] = field(default_factory=list)
    frame_s: list[float] = field(default_factory=list)


def contenders() -> list[str]:
    """The families with networks, those that are compared by name first."""
    names = [name for name in VALUE_MODELS.names() if VALUE_MODELS.get(name).networks]
    return sorted(names, key=lambda name: (LEADS.index(name) if name in LEADS else len(LEADS), name))


def time_families(work: Path, *, steps: int, rounds: int, length: int = 90) -> dict[str, Timing]:
    """Rounds that take turns: each trains every family for 2 x `steps` steps, of which the last count, and labels."""
    data = synthetic_values(work / "experience", episodes=3, length=length, size=64)
    found = {name: Timing() for name in contenders()}
    for _ in range(rounds):
        for name, timing in found.items():
            _one_round(name, timing, data, work / name, steps)
    return found


def _one_round(name: str, timing: Timing, data: ValueData, folder: Path, steps: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    family, journal = VALUE_MODELS.get(name), MemoryJournal()
    config = family.presets["small"](steps=2 * steps)
    config = replace(config, fit=replace(config.fit, log_every=steps, checkpoint_every=4 * steps))
    figures = family.train(
        config, data, np.array([0, 1]), seed=0, scratch=folder / "scratch", out=folder / "bundle", journal=journal,
        data_identity="synthetic",
    )  # fmt: skip
    timing.parameters = figures["parameters"]
    timing.step_s.append(1 / journal.told[-1][1]["steps_per_s"])
    model = family.load(folder / "bundle")
    model.label(data, 2, draws=1, noise_seed=0)
    start = time.perf_counter()
    value, _ = model.label(data, 0, draws=1, noise_seed=0)
    timing.frame_s.append((time.perf_counter() - start) / len(value))


def show(found: dict[str, Timing]) -> dict[str, float | None]:
    """Prints a table; figures for the last line: ratios above 1 say that ViVa is faster."""
    print("small sizes, end to end, one thread:")
    for name, timing in found.items():
        step, frame = statistics.median(timing.step_s), statistics.median(timing.frame_s)
        print(
            f"  {name:8s} {timing.parameters / 1e6:6.3f} M parameters {1000 * step:8.1f} ms/step "
            f"{1000 * frame:8.3f} ms/frame {frame * 1e6 / 60:8.1f} minutes per 10^6 frames"
        )
    viva, vlm = (found.get(name) for name in LEADS)

    def ratio(kind: str) -> float | None:
        if viva is None or vlm is None:
            return None
        return statistics.median(getattr(vlm, kind)) / statistics.median(getattr(viva, kind))

    minutes = {f"{name}_minutes_per_million": statistics.median(t.frame_s) * 1e6 / 60 for name, t in found.items()}
    steps = {f"{name}_ms_per_step": 1000 * statistics.median(t.step_s) for name, t in found.items()}
    return {"viva_vs_vlm_step": ratio("step_s"), "viva_vs_vlm_label": ratio("frame_s"), **steps, **minutes}
