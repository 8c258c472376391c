"""Values of a collapsed, constant or permuted model are refused by name, by the steps that a run is made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import MemoryJournal
from tests.support.synthetic import synthetic_draft

import pipelines.steps.advantage
import pipelines.steps.judge  # noqa: F401  (both register)
from data.annotation import Annotations
from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.steps.advantage.step import AdvantageConfig, ArmFacts
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.steps.judge.step import JudgeConfig, JudgeFacts
from recap.errors import HealthError
from recap.hashing import canonical_json
from recap.step import STEPS, Artifact, JsonOutput
from recap.types import Annotation, Event, Outcome, PrivilegedTruth, Source
from value_model.evaluation import EvaluationConfig
from value_model.gae import Horizon
from value_model.returns import ReturnConfig

TASK, LENGTH, EPISODES = "shirt_folding", 40, 64
CONFIG = JudgeConfig(evaluation=EvaluationConfig(resamples=100))


def truth_of(place: int, length: int) -> PrivilegedTruth:
    """Two carries; every other attempt does both well and succeeds, the rest do the first, or none, well."""
    won, first = place % 2 == 0, place % 4 != 3
    progress = np.zeros(length, dtype=np.float32)
    progress[21:] += 0.5 * first
    progress[37:] += 0.5 * won
    events = [Event(t=t, name=name, kind=0) for t, name in ((10, "grasped_left"), (20, "released_left"))]
    events += [Event(t=20, name="sleeve_left_folded", kind=1)] if first else []
    events += [Event(t=30, name="grasped_left", kind=0), Event(t=36, name="released_left", kind=0)]
    events += [Event(t=36, name="hem_folded", kind=1)] if won else []
    outcome = Outcome.SUCCESS if won else Outcome.FAILURE
    return PrivilegedTruth(
        progress=progress, stage=np.zeros(length, dtype=np.int64), events=tuple(events), outcome=outcome, metrics={}
    )


class World:
    """Attempts in a store, and the inputs of both steps but for the values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = EpisodeStore(folder / "episodes")
        self.truths = {}
        for place in range(EPISODES):
            draft = synthetic_draft(place, length=LENGTH + place % 5, height=8, width=8, source=Source.ROLLOUT)
            truth = truth_of(place, draft.length)
            self.truths[self.store.commit(draft, truth)] = truth
        self.ids = tuple(sorted(self.truths))
        lengths = [len(self.truths[episode].progress) for episode in self.ids]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        outcomes = {one: Annotation(episode_id=one, outcome=self.truths[one].outcome) for one in self.ids}
        self.given = {
            "annotations": self._json("annotations", Annotations(by_id=outcomes, missing=()).to_json()),
            "episodes": self._json("episodes", EpisodeSet.of(self.ids).to_json()),
        }

    @property
    def good(self) -> np.ndarray:
        """Values that rise with true progress, each attempt and frame with an error of its own."""
        rng = np.random.default_rng(0)
        each = [0.45 * self.truths[one].progress - 0.5 + 0.02 * rng.standard_normal() for one in self.ids]
        return (np.concatenate(each) + 0.01 * rng.standard_normal(int(self.offsets[-1]))).astype(np.float32)

    def judged(self, values: np.ndarray, config: JudgeConfig = CONFIG, given: np.ndarray | None = None) -> ValueHealth:
        found = self._run("judge", config, {"values/viva": self._table("viva", values, given)})["value_health"]
        return self._json("value_health", found.value).read(ValueHealth)

    def label(self, values: np.ndarray) -> Any:
        """Judges, then labels: what a run does."""
        health = self._json("value_health", JsonOutput.of(self.judged(values)).value)
        given = {"values": self._table("viva", values), "value_health": health}
        return self._run("advantage", AdvantageConfig(), given)

    def _run(self, step: str, config: Any, given: dict[str, Artifact]) -> Any:
        known: dict[str, Any] = {"tasks": (TASK,), "name": "viva", "lookahead": {TASK: 18}, "returns": ReturnConfig()}
        facts = JudgeFacts(**known, horizon=Horizon()) if step == "judge" else ArmFacts(**known, rule="")
        workspace = SimpleNamespace(episodes=self.folder / "episodes")
        ctx = SimpleNamespace(node=f"1/{step}", workspace=workspace, journal=MemoryJournal(), out=self.folder / step)
        return STEPS.get(step).function(ctx, config, facts, {**self.given, **given})  # type: ignore[arg-type]

    def _table(self, name: str, values: np.ndarray, given: np.ndarray | None = None) -> Artifact:
        path = self.folder / name
        facts = {"family": name, "folds": [0, 1]}
        arrays = {"value": values} | ({} if given is None else {"advantage": given})
        FrameTable(ids=self.ids, offsets=self.offsets, arrays=arrays, facts=facts).write(path)
        return Artifact(name="values", identity="a" * 64, path=path)

    def _json(self, name: str, value: Any) -> Artifact:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(json.loads(canonical_json(value))))
        return Artifact(name=name, identity="b" * 64, path=path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_values_that_know_something_become_labels(world: World) -> None:
    health = world.judged(world.good)
    assert health.problems == ()
    figures = health.own.tasks[TASK].figures
    assert figures["flaw_auc"].value is not None
    assert figures["flaw_auc"].value > 0.8
    assert health.differences[TASK]["flaw_auc_minus_episode_return"].value is not None
    assert world.label(world.good)["health"].value["problems"] == []


def test_constant_values_are_refused_by_name(world: World) -> None:
    with pytest.raises(HealthError, match=r"value_std 0 .*min_value_std") as refused:
        world.label(np.full(int(world.offsets[-1]), -0.4, dtype=np.float32))
    assert "constant_share 1 over" in refused.value.message


def test_collapsed_values_are_refused_by_name(world: World) -> None:
    noise = np.random.default_rng(1).standard_normal(int(world.offsets[-1]))
    with pytest.raises(HealthError, match=r"value_std .*min_value_std"):
        world.label((-0.4 + 1e-4 * noise).astype(np.float32))
    # Many times the floor of the spread, and yet next to nothing: it says no more than one value for all frames.
    with pytest.raises(HealthError, match=r"value_spread .*min_value_spread"):
        world.label((-0.4 + 5e-3 * noise).astype(np.float32))


@pytest.mark.parametrize("what", ["frames", "episodes"])
def test_permuted_values_are_refused_by_name(world: World, what: str) -> None:
    rng, good = np.random.default_rng(2), world.good
    if what == "frames":
        permuted = rng.permutation(good)
    else:
        parts = np.split(good, world.offsets[1:-1])
        order = rng.permutation(EPISODES)
        lengths = np.diff(world.offsets)
        permuted = np.concatenate([np.resize(parts[other], size) for other, size in zip(order, lengths, strict=True)])
    with pytest.raises(HealthError, match=r"skill -.*min_skill"):
        world.label(permuted)


def test_a_bound_that_is_turned_off_refuses_nothing(world: World) -> None:
    off = replace(CONFIG.bounds, min_skill=None, min_flaw_auc=None, min_spearman=None)
    permuted = np.random.default_rng(2).permutation(world.good)
    assert world.judged(permuted, replace(CONFIG, bounds=off)).problems == ()


def test_given_advantages_may_have_values_of_any_scale_and_must_tell_flaws(world: World) -> None:
    small = (0.05 * world.good).astype(np.float32)
    assert "min_value_spread" in "".join(world.judged(small).problems)
    knowing = np.concatenate(
        [np.append(np.diff(part), 0) for part in np.split(world.good, world.offsets[1:-1])]
    ).astype(np.float32)
    assert world.judged(small, given=knowing).problems == ()
    assert "min_flaw_auc" in "".join(world.judged(small, given=-knowing).problems)
