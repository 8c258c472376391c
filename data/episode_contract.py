"""What every episode must satisfy, whoever recorded it. Pure checks: no file, no zarr."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recap.errors import ConfigError
from recap.texts import text_problem
from recap.types import EpisodeDraft, PrivilegedTruth, Source

RESERVED_FOLDERS = frozenset({"truth", "index", "quarantine"})
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")
PLAIN = "up to 100 letters, digits, . _ -"
"""PLAIN_NAME, in words."""


class Violation(NamedTuple):
    """One broken clause of the episode contract."""

    field: str
    problem: str


def violations(draft: EpisodeDraft) -> Iterator[Violation]:
    """Every clause that `draft` breaks. Decodes the frames of a stored episode."""
    yield from _fact_violations(draft)
    length = draft.state.shape[0] if draft.state.ndim else 0
    if length < 1:
        yield Violation("state", f"shape {draft.state.shape}, expected [T, S] with T >= 1")
    for name, array in (("state", draft.state), ("action", draft.action)):
        yield from _array_violations(name, array, length)
    if draft.intervened.dtype != np.bool_:
        yield Violation("intervened", f"dtype {draft.intervened.dtype}, expected bool")
    if draft.intervened.shape != (length,):
        yield Violation("intervened", f"shape {draft.intervened.shape}, expected ({length},) as state has T = {length}")
    else:
        yield from _source_violations(draft)
    if draft.asked is not None:
        yield from _array_violations("asked", draft.asked, length)
        if draft.asked.shape != draft.action.shape:
            yield Violation("asked", f"shape {draft.asked.shape}, expected {draft.action.shape} as the action has")
    if draft.stale is not None and (draft.stale.dtype != np.bool_ or draft.stale.shape != (length,)):
        yield Violation("stale", f"{draft.stale.dtype} {draft.stale.shape}, expected bool ({length},)")
    yield from _frame_violations(draft, length)


def check(draft: EpisodeDraft) -> None:
    """Raises ConfigError naming each field of `draft` that breaks the contract."""
    found = list(violations(draft))
    if found:
        listed = "; ".join(f"{field}: {problem}" for field, problem in found)
        raise ConfigError(f"episode of task '{draft.task}' (start seed {draft.start_seed}) not committed: {listed}")


def check_truth(truth: PrivilegedTruth, length: int) -> None:
    """Raises ConfigError naming the field of `truth` that does not fit an episode of `length` steps."""
    for name, array in (("progress", truth.progress), ("stage", truth.stage)):
        if array.shape != (length,):
            raise ConfigError(f"truth.{name}: shape {array.shape}, expected ({length},), one entry per step")
    if not np.isfinite(truth.progress).all() and not np.isnan(truth.progress).all():
        raise ConfigError(
            "truth.progress: partly not finite, expected numbers, or NaN throughout where it is not known"
        )
    for event in truth.events:
        if not 0 <= event.t < length or event.kind not in (-1, 0, 1):
            raise ConfigError(f"truth.events: {event}, expected 0 <= t < {length} and kind -1, 0 or 1")


def _fact_violations(draft: EpisodeDraft) -> Iterator[Violation]:
    if not PLAIN_NAME.fullmatch(draft.task) or draft.task in RESERVED_FOLDERS:
        reserved = ", ".join(sorted(RESERVED_FOLDERS))
        yield Violation("task", f"{draft.task!r}, expected {PLAIN}, other than {reserved}")
    if not draft.robot:
        yield Violation("robot", "empty")
    if draft.instruction is not None and not draft.instruction.strip():
        yield Violation("instruction", "empty, expected words, or None for the prompt of its task")
    for name, text in (
        ("robot", draft.robot),
        ("policy_id", draft.policy_id or ""),
        ("instruction", draft.instruction or ""),
    ):
        if problem := text_problem(text):
            yield Violation(name, problem)
    if not (math.isfinite(draft.rate_hz) and draft.rate_hz > 0):
        yield Violation("rate_hz", f"{draft.rate_hz}, expected > 0")
    if draft.source is Source.DEMO and draft.policy_id is not None:
        yield Violation("policy_id", f"{draft.policy_id!r} on a demo, expected None: no policy acted")
    if draft.source is not Source.DEMO and not draft.policy_id:
        yield Violation("policy_id", f"{draft.policy_id!r} on a {draft.source.value}, expected the policy that acted")


def _source_violations(draft: EpisodeDraft) -> Iterator[Violation]:
    human = int(draft.intervened.sum())
    total = draft.intervened.shape[0]
    expected = {
        Source.DEMO: (human == total, "all steps, as a human or the expert acts throughout a demo"),
        Source.ROLLOUT: (human == 0, "no step, as a policy acts throughout a rollout"),
        Source.CORRECTION: (human > 0, "at least one step, as a human took over in a correction"),
    }
    fine, wanted = expected[draft.source]
    if not fine:
        yield Violation("intervened", f"True on {human} of {total} steps, expected {wanted}")


def _array_violations(name: str, array: NDArray[Any], length: int) -> Iterator[Violation]:
    if array.dtype != np.float32:
        yield Violation(name, f"dtype {array.dtype}, expected float32")
        return
    if array.ndim != 2 or array.shape[1] < 1 or array.shape[0] != length:
        yield Violation(name, f"shape {array.shape}, expected ({length}, D) with D >= 1 as state has T = {length}")
        return
    bad = ~np.isfinite(array)
    if bad.any():
        step, dim = (int(i) for i in np.argwhere(bad)[0])
        yield Violation(name, f"{array[step, dim]} at step {step}, dimension {dim}, expected finite numbers")


def _frame_violations(draft: EpisodeDraft, length: int) -> Iterator[Violation]:
    if not draft.frames:
        yield Violation("frames", "no camera, expected at least one")
    for camera in sorted(draft.frames):
        frames = draft.frames[camera]
        name = f"frames/{camera}"
        if not PLAIN_NAME.fullmatch(camera) or camera == "zarr.json":
            yield Violation(name, f"expected a camera name of {PLAIN}")
        if frames.dtype != np.uint8:
            yield Violation(name, f"dtype {frames.dtype}, expected uint8")
        if frames.ndim != 4 or frames.shape[0] != length or frames.shape[3] != 3 or 0 in frames.shape:
            yield Violation(name, f"shape {frames.shape}, expected ({length}, h, w, 3) as state has T = {length}")
