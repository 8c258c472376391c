"""The long-lived workers of the loop: each is built once, in its own process, and then given one job after another.

A worker composes the layers below (a simulator, an expert or a policy, the episode store) and returns plain rows.
Heavy imports happen inside, in the process that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the policy model imports torch: only the worker's own process pays for it
    from data.sim.flaws import FlawConfig
    from pipelines.steps.policy import PolicyConfig
    from recap.protocols import Journal, Policy


class Collector:
    """Records one scripted-expert demonstration per job. Job: start seed. Result: a row of the collect summary."""

    def __init__(self, task: str, renderer: str, image_size: int, flaws: FlawConfig, store_root: str) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS

        self._task = TASKS.get(task)
        self._robot = self._task.make_robot(renderer=renderer, image_size=image_size)
        self._flaws = flaws
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: int) -> dict[str, Any]:
        from data.rollout import record_demo
        from data.sim.flaws import draw_flaws

        draft, truth = record_demo(self._task, self._robot, job, self._flaws)
        episode_id = self._store.commit(draft, truth)
        return {
            "start_seed": job,
            "episode_id": episode_id,
            "outcome": truth.outcome.value,
            "steps": draft.length,
            "flaw": draw_flaws(self._flaws, job).mode,
        }

    def close(self) -> None:
        self._robot.close()


class Evaluator:
    """Plays one attempt per job. Job: (start seed, record it as an episode?). Result: a row of the evaluation."""

    def __init__(
        self, task: str, renderer: str, image_size: int, policy_dir: str, noise_seed: int, store_root: str
    ) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS
        from policy.models import load_policy

        self._task = TASKS.get(task)
        self._robot = self._task.make_robot(renderer=renderer, image_size=image_size)
        self._policy: Policy = load_policy(Path(policy_dir))
        self._noise_seed = noise_seed
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: tuple[int, bool]) -> dict[str, Any]:
        from data.rollout import rollout

        seed, film = job
        attempt, draft, truth = rollout(
            self._task,
            self._robot,
            self._policy,
            seed,
            noise_seed=self._noise_seed,
            execute=self._policy.execute,
            record=film,
        )
        episode_id = self._store.commit(draft, truth) if draft is not None else None
        return {
            "start_seed": seed,
            "outcome": attempt.outcome.value,
            "steps": attempt.steps,
            "inference_s": attempt.inference_s,
            "human_steps": attempt.human_steps,
            "metrics": dict(attempt.metrics),
            "episode_id": episode_id,
            "policy_id": self._policy.policy_id,
        }

    def close(self) -> None:
        self._robot.close()


def train_policy(
    config: PolicyConfig,
    demos: Mapping[str, Any],
    episodes: Path,
    cache: Path,
    scratch: Path,
    out: Path,
    journal: Journal,
) -> dict[str, float]:
    """Packs the episodes, takes their statistics, trains, and writes the bundle to `out`; returns its figures.

    Args:
        config: settings of the policy step.
        demos: JSON of the EpisodeSet to learn from.
        episodes: the episode store.
        cache: where the packed frames go.
        scratch: keeps checkpoints between attempts.
        out: the bundle folder to make.
        journal: told how it goes.
    """
    from data.batches import TrainingBatches
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.framecache import PackedExperience
    from data.normalise import stats_of_store
    from data.tasks import TASKS
    from policy.models import family_of

    task = TASKS.get(config.task)
    store = EpisodeStore(episodes)
    ids = EpisodeSet.from_json(demos)
    packed = PackedExperience.build(
        store,
        ids,
        cache,
        cameras=task.robot.camera_names,
        progress=lambda done, total: journal.progress(done, total, "episodes packed"),
    )
    model = config.model
    family = family_of(model)
    relative = family.relative_dims(model, task.robot)
    batches = TrainingBatches(
        packed, chunk=model.chunk, batch_size=model.batch_size, seed=model.seed, relative_dims=relative
    )
    stats = stats_of_store(store, ids, chunk=model.chunk, relative_dims=relative)
    figures = family.train(
        model,
        batches,
        stats.to_json(),
        task=task.spec.prompt,
        robot=task.robot,
        cameras=task.robot.camera_names,
        scratch=scratch,
        out=out,
        journal=journal,
        data_identity=ids.root,
    )
    return {**figures, "episodes": float(len(ids)), "frames": float(packed.num_frames)}


def make_collector(*args: Any) -> Collector:
    """A Collector; arguments as its constructor's."""
    return Collector(*args)


def make_evaluator(*args: Any) -> Evaluator:
    """An Evaluator; arguments as its constructor's."""
    return Evaluator(*args)
