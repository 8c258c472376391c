"""The long-lived workers of the loop that act: each is built once, in its own process, then given job after job.

A worker composes the layers below (a simulator, an expert or a policy, the episode store) and returns plain rows.
Heavy imports happen inside, in the process that needs them. The workers of the value model are in value_workers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the policy model imports torch: only the worker's own process pays for it
    from data.corrections import CorrectionConfig
    from data.sim.flaws import FlawConfig
    from pipelines.attempts import Start
    from pipelines.steps.policy import PolicyConfig
    from recap.protocols import BatchSource, Journal, PolicyClient, SimulatedEnv


class Collector:
    """Records one scripted-expert demonstration per job. Job: start seed. Result: a row of the collect summary."""

    def __init__(self, task: str, renderer: str, image_size: int, flaws: FlawConfig, store_root: str) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS

        self._task = TASKS.simulated(task)
        self._env = self._task.make_env(renderer=renderer, image_size=image_size)
        self._flaws = flaws
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: int) -> dict[str, Any]:
        from data.rollout import record_demo
        from data.tasks import flaws_of

        draft, truth = record_demo(self._task, self._env, job, self._flaws)
        episode_id = self._store.commit(draft, truth)
        return {
            "start_seed": job,
            "episode_id": episode_id,
            "source": draft.source.value,
            "outcome": truth.outcome.value,
            "steps": draft.length,
            "human_steps": draft.length,
            "flaw": flaws_of(self._task, self._flaws, job).mode,
        }

    def close(self) -> None:
        self._env.close()


class RolloutCollector:
    """Records one attempt of a policy per job. Job: (start seed, with a supervisor?). Result: a row of the summary."""

    def __init__(
        self,
        task: str,
        renderer: str,
        image_size: int,
        policy_dir: str,
        noise_seed: int,
        correction: CorrectionConfig,
        store_root: str,
    ) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS
        from policy.client import LocalClient
        from policy.models import load_policy

        self._task = TASKS.simulated(task)
        self._env = self._task.make_env(renderer=renderer, image_size=image_size)
        self._client = LocalClient(load_policy(Path(policy_dir)))
        self._noise_seed = noise_seed
        self._correction = correction
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: tuple[int, bool]) -> dict[str, Any]:
        from data.rollout import rollout

        seed, supervised = job
        correction = self._correction if supervised else None
        attempt, draft, truth = rollout(
            self._task, self._env, self._client, seed, noise_seed=self._noise_seed, correction=correction
        )
        assert draft is not None, "it is recorded"
        return {
            "start_seed": seed,
            "episode_id": self._store.commit(draft, truth),
            "source": draft.source.value,
            "outcome": attempt.outcome.value,
            "steps": attempt.steps,
            "human_steps": attempt.human_steps,
            "supervised": supervised,
        }

    def close(self) -> None:
        self._env.close()


class Evaluator:
    """Plays one attempt per job. Job: (key, policy bundle, start, record it as an episode?). Result: its row."""

    def __init__(self, renderer: str, image_size: int, noise_seed: int, store_root: str) -> None:
        from data.episodes import EpisodeStore

        self._renderer, self._image_size = renderer, image_size
        self._envs: dict[str, SimulatedEnv] = {}
        self._clients: dict[str, PolicyClient] = {}
        self._noise_seed = noise_seed
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: tuple[str | int, str, Start, bool]) -> dict[str, Any]:
        from data.rollout import rollout
        from data.tasks import TASKS

        key, policy_dir, (task, seed), film = job
        client = self._client(policy_dir)
        attempt, draft, truth = rollout(
            TASKS.simulated(task), self._env(task), client, seed, noise_seed=self._noise_seed, record=film
        )
        episode_id = self._store.commit(draft, truth) if draft is not None else None
        return {
            "key": key,
            "start_seed": seed,
            "outcome": attempt.outcome.value,
            "steps": attempt.steps,
            "inference_s": attempt.inference_s,
            "human_steps": attempt.human_steps,
            "metrics": dict(attempt.metrics),
            "episode_id": episode_id,
            "policy_id": client.policy_id,
        }

    def _env(self, task: str) -> SimulatedEnv:
        """The environment of a task, made when the first attempt at it comes."""
        from data.tasks import TASKS

        if task not in self._envs:
            self._envs[task] = TASKS.simulated(task).make_env(renderer=self._renderer, image_size=self._image_size)
        return self._envs[task]

    def _client(self, folder: str) -> PolicyClient:
        """The policy of a bundle; two are kept, because the gate plays two in turn."""
        from policy.client import LocalClient
        from policy.models import load_policy

        if folder not in self._clients:
            while len(self._clients) >= 2:
                del self._clients[next(iter(self._clients))]
            self._clients[folder] = LocalClient(load_policy(Path(folder)))
        return self._clients[folder]

    def close(self) -> None:
        for env in self._envs.values():
            env.close()


def train_policy(
    config: PolicyConfig,
    experience: Mapping[str, Any],
    labels: Path | None,
    base: Path | None,
    episodes: Path,
    cache: Path,
    scratch: Path,
    out: Path,
    journal: Journal,
) -> dict[str, float]:
    """Packs the episodes, takes their statistics, trains, and writes the candidates to `out`; returns its figures.

    Args:
        config: settings of the policy step.
        experience: JSON of the EpisodeSet to learn from; with labels, those of its episodes that have any.
        labels: frame table with `positive`, or None.
        base: candidates of the training whose last weights are the start, or None: from scratch.
        episodes: the episode store.
        cache: where the packed frames go.
        scratch: keeps checkpoints between attempts.
        out: the folder of candidates to make.
        journal: told how it goes.
    """
    from data.batches import TrainingBatches
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.normalise import stats_of_store
    from data.task_list import tasks_of
    from pipelines.experience import pack, wordings_of
    from policy.conditioning import POSITIVE, ConditionedBatches, PromptedBatches
    from policy.models import candidates, family_of

    tasks = tasks_of(config.task)
    robot = tasks[0].robot
    store = EpisodeStore(episodes)
    table = None if labels is None else FrameTable.read(labels)
    ids = EpisodeSet.from_json(experience)
    if table is not None:
        ids = EpisodeSet.of(set(ids) & set(table.ids))
    model = config.model
    family = family_of(model)
    packed = pack(store, ids.ids, cache, config.task, journal, image_size=family.image_size(model))
    positive = None
    if table is not None:
        table.check_same_frames(packed.episode_ids, packed.offsets, where="labels of the policy's experience")
        positive = table.arrays["positive"]
    relative = family.relative_dims(model, robot)
    batches: BatchSource = TrainingBatches(
        packed, chunk=model.chunk, batch_size=model.batch_size, seed=model.seed, relative_dims=relative
    )
    wordings = wordings_of(store.rows(packed.episode_ids))
    prompts = tuple(dict.fromkeys([*(task.spec.prompt for task in tasks), *sorted(wordings)]))
    if len(prompts) > 1:
        batches = PromptedBatches(batches, prompts, wordings)
    tagged = config.tags != "none"
    conditioned = ConditionedBatches(batches, positive, dropout=config.dropout if tagged else 1.0, seed=model.seed)
    stats = stats_of_store(store, ids, chunk=model.chunk, relative_dims=relative)
    figures = family.train(
        model,
        conditioned,
        stats.to_json(),
        prompts=prompts,
        robot=robot,
        cameras=robot.camera_names,
        scratch=scratch,
        out=out,
        journal=journal,
        data_identity=f"{ids.root}+{conditioned.identity}",
        base=None if base is None else candidates(base)[-1][1],
        tag=POSITIVE if tagged else "",
    )
    share = {} if positive is None else {"positive_share": float(positive.mean())}
    return {**figures, **share, "episodes": float(len(ids)), "frames": float(packed.num_frames)}


def make_collector(*args: Any) -> Collector:
    """A Collector; arguments as its constructor's."""
    return Collector(*args)


def make_rollout_collector(*args: Any) -> RolloutCollector:
    """A RolloutCollector; arguments as its constructor's."""
    return RolloutCollector(*args)


def make_evaluator(*args: Any) -> Evaluator:
    """An Evaluator; arguments as its constructor's."""
    return Evaluator(*args)
