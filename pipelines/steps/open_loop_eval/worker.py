"""Open-loop evaluation: a policy acts on recorded observations and is compared with what was done then. No robot.

Owns which frames are used and the figures. A frame's choice and its noise are functions of (seed, episode, step)
alone, so further episodes change neither. Nothing here says whether the policy would succeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sim.seeds import derive
from pipelines.steps.open_loop_eval.outputs import ActionError, MeanError, OpenLoopEval, RangeCheck
from recap.errors import HealthError
from recap.protocols import Journal
from recap.types import BoolArray, FloatArray, IntArray, Observation, Source

if TYPE_CHECKING:
    from data.framecache import FrameView
    from pipelines.facts import ComputeFacts
    from pipelines.steps.open_loop_eval.step import OpenLoopEvalConfig
    from recap.protocols import Policy
    from recap.specs import RobotSpec

STATEMENT = (
    "in-sample: the policy was trained on these frames; the figures say how closely it repeats recorded actions "
    "and nothing of how often it would succeed"
)


def evaluate_open_loop(
    config: OpenLoopEvalConfig,
    facts: ComputeFacts,
    experience: Mapping[str, Any],
    policy_dir: Path,
    labels: Path | None,
    episodes: Path,
    cache: Path,
    journal: Journal,
) -> OpenLoopEval:
    """Has the policy act on the chosen frames.

    Args:
        config: settings of the step.
        facts: the task, and where the policy computes.
        experience: JSON of the EpisodeSet to use; with labels, those of its episodes that have any.
        policy_dir: the bundle.
        labels: frame table with `positive`, or None.
        episodes: the episode store.
        cache: where the packed frames lie.
        journal: told how it goes.

    Raises:
        HealthError: the policy gives actions that no robot may be sent: not finite, or of the wrong shape.
    """
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.tasks import TASKS
    from pipelines.experience import recorded_size, view_at, wordings_of
    from policy.models import load_policy
    from recap.training.runtime import Runtime

    task_id = facts.tasks[0]
    task, store = TASKS.get(task_id), EpisodeStore(episodes)
    ids = EpisodeSet.from_json(experience)
    table = None if labels is None else FrameTable.read(labels)
    if table is not None:
        ids = EpisodeSet.of(set(ids) & set(table.ids))
    size = recorded_size(store, ids.ids, (task_id,))
    packed = view_at(store, ids.ids, cache, (task_id,), journal, image_size=size)
    episodes_of = store.rows(packed.episode_ids)
    wordings = wordings_of(episodes_of)
    sources = np.array([row.source == Source.DEMO for row in episodes_of], dtype=np.bool_)
    groups = {"demos": np.repeat(sources, np.diff(packed.offsets))}
    if table is not None:
        table.check_same_frames(packed.episode_ids, packed.offsets, where="labels of the recorded experience")
        groups |= {"positive": table.arrays["positive"], "negative": ~table.arrays["positive"]}
    chosen = {name: choose_frames(packed, mask, config.frames, config.seed) for name, mask in groups.items()}
    rows = np.unique(np.concatenate([*chosen.values()]))
    policy = load_policy(policy_dir, runtime=Runtime.of(facts.runtime))
    acted: dict[int, FloatArray] = {}
    for row in rows.tolist():
        prompt = wordings[packed.episode_of[row]]
        acted[row] = _act(policy, packed, row, prompt=prompt, robot=task.robot, seed=config.seed)
        journal.progress(len(acted), len(rows), "frames")
    return OpenLoopEval(
        task=task_id,
        policy_id=policy.policy_id,
        statement=STATEMENT,
        execute=policy.execute,
        frames=len(rows),
        episodes=len(np.unique(packed.episode_of[rows])),
        actions=task.robot.action_names,
        units=task.robot.action_units,
        groups={
            name: compare(packed, {row: acted[row] for row in picked.tolist()}, task.robot)
            for name, picked in chosen.items()
            if len(picked)
        },
        contract=contract(packed.action, np.concatenate(list(acted.values())), config.margin, task.robot),
    )


def choose_frames(packed: FrameView, mask: BoolArray, count: int, seed: int) -> IntArray:
    """Rows, sorted, of at most `count` frames within `mask` [N]: those with the lowest number drawn for them."""
    rows = np.flatnonzero(mask)
    if len(rows) <= count:
        return rows
    drawn = np.array([_counter("replay frame", packed, row, seed) for row in rows.tolist()])
    return np.sort(rows[np.argsort(drawn, kind="stable")[:count]])


def compare(packed: FrameView, acted: Mapping[int, FloatArray], robot: RobotSpec) -> ActionError:
    """Mean absolute error per action dimension, in robot units, beside that of keeping the present state.

    Args:
        packed: what was recorded.
        acted: {row: [n, A] actions for that step and the following ones}.
        robot: names which state each action would keep; one that has none has no such error (None).
    """
    recorded = np.concatenate([packed.action[row : row + len(actions)] for row, actions in acted.items()])
    error = np.abs(np.concatenate(list(acted.values())) - recorded).mean(axis=0, dtype=np.float64)
    kept: list[float | None] = []
    for dim, name in enumerate(robot.action_names):
        if name not in robot.state_names:
            kept.append(None)
            continue
        place = robot.state_names.index(name)
        held = np.concatenate([np.full(len(actions), packed.state[row, place]) for row, actions in acted.items()])
        kept.append(float(np.abs(held - recorded[:, dim]).mean(dtype=np.float64)))
    mean: dict[str, MeanError] = {}
    for unit in dict.fromkeys(robot.action_units):
        dims = [dim for dim, other in enumerate(robot.action_units) if other == unit]
        held_still = [value for dim in dims if (value := kept[dim]) is not None]
        mean[unit] = MeanError(
            error=float(error[dims].mean()),
            keep_state_error=float(np.mean(held_still)) if len(held_still) == len(dims) else None,
        )
    closer = [own < other for own, other in zip(error.tolist(), kept, strict=True) if other is not None]
    return ActionError(
        frames=len(acted),
        steps=len(recorded),
        error=tuple(float(value) for value in error),
        keep_state_error=tuple(kept),
        mean=mean,
        closer_than_keeping=sum(closer),
        comparable=len(closer),
    )


def contract(recorded: FloatArray, acted: FloatArray, margin: float, robot: RobotSpec) -> RangeCheck:
    """The fraction of actions beyond the recorded range, widened by `margin` of its width on either side.

    Args:
        recorded: [N, A].
        acted: [M, A], finite.
        margin: share of the range.
        robot: names the dimensions.
    """
    low, high = recorded.min(axis=0), recorded.max(axis=0)
    slack = margin * (high - low)
    outside = (acted < low - slack) | (acted > high + slack)
    shares = outside.mean(axis=0, dtype=np.float64)
    return RangeCheck(
        finite=True,
        margin=margin,
        outside_fraction=float(outside.mean(dtype=np.float64)),
        outside={name: float(s) for name, s in zip(robot.action_names, shares, strict=True) if s > 0},
    )


def _act(policy: Policy, packed: FrameView, row: int, *, prompt: str, robot: RobotSpec, seed: int) -> FloatArray:
    """[n, A] what the policy would send from this frame on, up to its next look or the end of the episode."""
    frames = {camera: packed.images[row, place] for place, camera in enumerate(packed.cameras)}
    observation = Observation(state=packed.state[row], frames=frames, prompt=prompt)
    chunk = policy.act(observation, noise_seed=_counter("replay noise", packed, row, seed))
    width = len(robot.action_names)
    where = f"policy {policy.policy_id[:16]} on {_name(packed, row)}"
    if chunk.ndim != 2 or chunk.shape[1] != width or chunk.shape[0] < policy.execute:
        raise HealthError(f"{where}: actions of shape {chunk.shape}, expected at least ({policy.execute}, {width})")
    if not np.isfinite(chunk).all():
        step, dim = (int(i) for i in np.argwhere(~np.isfinite(chunk))[0])
        raise HealthError(
            f"{where}: action {step} is {chunk[step, dim]} in {robot.action_names[dim]}, expected finite numbers",
            hint="recap report   (look at the loss of its training)",
        )
    end = int(packed.offsets[packed.episode_of[row] + 1])
    return chunk[: min(policy.execute, end - row)]


def _counter(purpose: str, packed: FrameView, row: int, seed: int) -> int:
    episode = int(packed.episode_of[row])
    return derive(purpose, seed, int(packed.episode_ids[episode], 16), row - int(packed.offsets[episode]))


def _name(packed: FrameView, row: int) -> str:
    episode = int(packed.episode_of[row])
    return f"step {row - int(packed.offsets[episode])} of episode {packed.episode_ids[episode][:12]}"
