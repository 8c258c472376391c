"""Are the labels fit to train on? A collapsed or diverged critic must stop the run, never label everything positive.

Owns the checks on labels and their report. It must not know how values were made, and it changes no label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recap.config import setting, validate
from recap.errors import HealthError
from recap.types import BoolArray, FloatArray, Source
from value_model.advantage import FrameLabels
from value_model.episodes import EpisodeFacts

_HINT = "compare the value step's figures with `clock`; train it longer, or collect more episodes, then run again"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelHealthConfig:
    """What labels must satisfy."""

    tolerance: float = setting(0.05, minimum=0, maximum=1, help="largest gap between achieved and target share")
    min_value_std: float = setting(1e-3, minimum=0, help="smallest spread of values, overall and within episodes")
    min_advantage_std: float = setting(1e-5, minimum=0, help="smallest spread of advantages")
    min_episodes: int = setting(1, minimum=1, help="fewest episodes that set a threshold")
    enforce: bool = setting(True, help="fail the step; off: list the problems and go on")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceShare:
    """How much of one kind of frames is positive."""

    frames: int
    positive: int

    @property
    def share(self) -> float | None:
        """None where there are no frames."""
        return self.positive / self.frames if self.frames else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskLabelHealth:
    """The labels of one task. Figures that do not exist (no frames, NaN) are None."""

    target_share: float | None
    achieved_share: float | None
    """Of the threshold frames."""
    threshold: float | None
    threshold_frames: int
    threshold_episodes: int
    ties: int
    """Threshold frames whose advantage equals the threshold."""
    value_std: float | None
    """Over the threshold frames."""
    value_std_within: float | None
    """Median over the threshold episodes of more than one frame, of the spread within the episode."""
    advantage_std: float | None
    """Over the threshold frames."""
    not_finite: int
    """Values or advantages that are NaN or infinite, over all frames of episodes that were not aborted."""
    positive_fraction: float | None
    """Of all frames, forced ones included, aborted ones not."""
    sources: Mapping[str, SourceShare]
    """{"rollout/autonomous", "correction/human", ...: share}; only kinds that occur."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelHealth:
    """Figures of every task, and what is wrong."""

    tasks: Mapping[str, TaskLabelHealth]
    problems: tuple[str, ...]
    """Empty if the labels may be used."""

    @property
    def healthy(self) -> bool:
        """True if no check failed."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the health output of the step."""
        return {
            "healthy": self.healthy,
            "problems": list(self.problems),
            "tasks": {
                name: {
                    **{field: getattr(task, field) for field in _PLAIN},
                    "sources": {
                        kind: {"frames": one.frames, "positive": one.positive, "share": one.share}
                        for kind, one in task.sources.items()
                    },
                }
                for name, task in self.tasks.items()
            },
        }


_PLAIN = tuple(name for name in TaskLabelHealth.__dataclass_fields__ if name != "sources")


def check_labels(
    values: FloatArray, labels: FrameLabels, facts: EpisodeFacts, config: LabelHealthConfig
) -> LabelHealth:
    """Checks the labels of every task.

    Args:
        values: [N] the values they were made from.
        labels: of the same N frames.
        facts: the E episodes.
        config: bounds.

    Returns:
        The report; with `enforce` off it may list problems.

    Raises:
        HealthError: with `enforce`: every failed check, with numbers.
    """
    finite = np.isfinite(values) & np.isfinite(labels.advantage)
    tasks = {task: _task_health(task, values, labels, facts, finite) for task in facts.task_ids}
    problems = tuple(problem for task, health in tasks.items() for problem in _problems(task, health, config))
    if not tasks:
        problems = ("no episodes to label",)
    report = LabelHealth(tasks=tasks, problems=problems)
    if config.enforce and problems:
        raise HealthError("labels are not fit to train on:\n  - " + "\n  - ".join(problems), hint=_HINT)
    return report


def check_marks(labels: FrameLabels, facts: EpisodeFacts, config: LabelHealthConfig, *, constant: bool) -> LabelHealth:
    """Checks labels that no advantage made: some frames of every task are positive, and unless `constant` not all.

    Args:
        labels: of N frames.
        facts: the E episodes.
        config: whether to enforce it.
        constant: such labels may mark every frame.

    Raises:
        HealthError: with `enforce`: every failed check.
    """
    tasks, problems = {}, []
    for task in facts.task_ids:
        rows = facts.rows(facts.of_task(task)) & facts.usable
        basis = rows & labels.on_threshold
        share = _share(labels.positive[rows])
        tasks[task] = TaskLabelHealth(
            target_share=None,
            achieved_share=_share(labels.positive[basis]),
            threshold=None,
            threshold_frames=int(basis.sum()),
            threshold_episodes=_episodes_of(basis, facts),
            ties=0,
            value_std=None,
            value_std_within=None,
            advantage_std=None,
            not_finite=0,
            positive_fraction=share,
            sources=_sources(labels.positive, rows, facts),
        )
        if share == 0 or (share == 1 and not constant):
            problems.append(f"{task}: {'no' if share == 0 else 'every'} frame is positive: labels say nothing")
    report = LabelHealth(tasks=tasks, problems=tuple(problems))
    if config.enforce and problems:
        raise HealthError(
            "labels are not fit to train on:\n  - " + "\n  - ".join(problems),
            hint="learn from more attempts, of either outcome",
        )
    return report


def _task_health(
    task: str, values: FloatArray, labels: FrameLabels, facts: EpisodeFacts, finite: BoolArray
) -> TaskLabelHealth:
    rows = facts.rows(facts.of_task(task)) & facts.usable
    basis = rows & labels.on_threshold
    threshold = labels.thresholds[task]
    advantage = labels.advantage[basis]
    # A NaN is no spread: reductions run over finite figures, and the count of the others is a problem of its own.
    spread = basis & finite
    return TaskLabelHealth(
        target_share=labels.shares[task],
        achieved_share=_share(advantage > threshold),
        threshold=threshold,
        threshold_frames=int(basis.sum()),
        threshold_episodes=_episodes_of(basis, facts),
        ties=int(np.sum(advantage == np.float32(threshold))),
        value_std=_std(values[spread]),
        value_std_within=_median_std_within(values, spread, facts),
        advantage_std=_std(labels.advantage[spread]),
        not_finite=int(np.sum(rows & ~finite)),
        positive_fraction=_share(labels.positive[rows]),
        sources=_sources(labels.positive, rows, facts),
    )


def _problems(task: str, health: TaskLabelHealth, config: LabelHealthConfig) -> list[str]:
    found = []
    if health.not_finite:
        found.append(f"{task}: {health.not_finite} frames have a value or an advantage that is NaN or infinite")
    if health.threshold_episodes < config.min_episodes:
        found.append(
            f"{task}: {health.threshold_episodes} episodes of this iteration have autonomous frames to set the "
            f"threshold on, expected at least {config.min_episodes}"
        )
    spreads = (
        ("values", health.value_std, config.min_value_std),
        ("values within an episode (median)", health.value_std_within, config.min_value_std),
        ("advantages", health.advantage_std, config.min_advantage_std),
    )
    for what, std, floor in spreads:
        if std is not None and std < floor:
            found.append(f"{task}: {what} hardly differ: standard deviation {std:.3g}, expected at least {floor:g}")
    achieved, target = health.achieved_share, health.target_share
    if achieved is not None and target is not None and not abs(achieved - target) <= config.tolerance:
        found.append(
            f"{task}: {achieved:.1%} of {health.threshold_frames} threshold frames are positive, "
            f"expected {target:.1%} within {config.tolerance:.1%} "
            f"({health.ties} advantages equal the threshold {health.threshold:.6g})"
        )
    ends = {0.0: "no frame is", 1.0: "every frame is"}
    # "In all" covers demonstrations and older rollouts, which the threshold was not taken from.
    for where, share in (("on the threshold frames", achieved), ("in all", health.positive_fraction)):
        if share in ends:
            found.append(f"{task}: {ends[share]} positive {where}: labels say nothing")
    return found


def _sources(positive: BoolArray, rows: BoolArray, facts: EpisodeFacts) -> dict[str, SourceShare]:
    shares = {}
    for source in Source:
        recorded = rows & facts.rows(facts.of_source(source))
        for actor, acting in (("autonomous", ~facts.intervened), ("human", facts.intervened)):
            chosen = recorded & acting
            frames = int(chosen.sum())
            if frames:
                shares[f"{source}/{actor}"] = SourceShare(frames=frames, positive=int(positive[chosen].sum()))
    return shares


def _episode_of(facts: EpisodeFacts) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.repeat(np.arange(facts.num_episodes, dtype=np.int64), facts.lengths)


def _episodes_of(rows: BoolArray, facts: EpisodeFacts) -> int:
    return len(np.unique(_episode_of(facts)[rows]))


def _median_std_within(values: FloatArray, rows: BoolArray, facts: EpisodeFacts) -> float | None:
    episode, value = _episode_of(facts)[rows], values[rows].astype(np.float64)
    count = np.bincount(episode, minlength=facts.num_episodes)
    mean = np.bincount(episode, value, minlength=facts.num_episodes) / np.maximum(count, 1)
    square = np.bincount(episode, (value - mean[episode]) ** 2, minlength=facts.num_episodes)
    several = count > 1
    return float(np.median(np.sqrt(square[several] / count[several]))) if several.any() else None


def _std(values: FloatArray) -> float | None:
    return float(np.std(values, dtype=np.float64)) if len(values) else None


def _share(flags: BoolArray) -> float | None:
    return float(np.mean(flags)) if len(flags) else None
