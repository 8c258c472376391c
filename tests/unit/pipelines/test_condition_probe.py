"""The probe of the condition: where it stands in the graph, how distances are taken, who can be told what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.policies import last_candidate, make_observation, train_synthetic

from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.report.model import ArmResult
from pipelines.report.sections.limits import reading
from pipelines.steps.condition_probe.outputs import ActionDistance, ConditionProbe, Told
from pipelines.steps.condition_probe.worker import chunk_distance
from policy.conditioning import NEGATIVE, POSITIVE
from policy.models import POLICIES, Acting, load_policy, with_acting, with_condition
from policy.models.pi05.config import tiny_preset
from recap.errors import ConfigError
from recap.stats import wilson_interval


def _nodes(*settings: str, **typed: Any) -> list[str]:
    invocation = Invocation.of(task="shirt_folding", preset="micro", settings=list(settings), **typed)
    return [node.name for node in build_graph(invocation.config()).order() if node.spec.name == "condition_probe"]


def test_nothing_is_probed_unless_asked_for_and_then_every_arm() -> None:
    assert _nodes(arms="outcome") == []
    assert _nodes("condition_probe.attempts=3", arms="outcome") == ["1/condition_probe", "1/outcome/condition_probe"]
    with pytest.raises(ConfigError, match=r"condition_probe\.frames=9: it has no effect in this run"):
        _nodes("condition_probe.frames=9")


def test_a_probe_says_whose_labels_and_reads_the_chosen_policy() -> None:
    config = Invocation.of(preset="micro", arms="outcome", settings=["condition_probe.attempts=3"]).config()
    nodes = {node.name: node for node in build_graph(config).order()}
    for name, arm, chosen in (
        ("1/condition_probe", "viva", "1/checkpoint_selection"),
        ("1/outcome/condition_probe", "outcome", "1/outcome/checkpoint_selection"),
    ):
        assert nodes[name].facts.arm == arm
        assert nodes[name].inputs["policy"].node == chosen
        assert nodes[name].inputs["experience"].node == "1/experience"


def test_policies_that_hear_one_condition_are_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    family = POLICIES.get("pi05")
    deaf = replace(family, with_condition=type(family).__dataclass_fields__["with_condition"].default)
    monkeypatch.setitem(POLICIES._items, "pi05", deaf)
    config = Invocation.of(preset="micro").config()
    with pytest.raises(ConfigError, match="hear one condition only"):
        build_graph(replace(config, condition_probe=replace(config.condition_probe, attempts=1)))


def test_distances_are_in_deviations_of_each_dimension() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 3))
    scale = np.array([0.1, 1.0, 10.0])
    far = chunk_distance(first, second, scale)
    assert far == pytest.approx(np.sqrt((((first - second) / scale) ** 2).mean()))
    assert chunk_distance(7 * first, 7 * second, 7 * scale) == pytest.approx(far)
    assert chunk_distance(first, first, scale) == 0
    still = np.array([0.1, 1.0, 0.0])
    assert chunk_distance(first, second, still) == pytest.approx(chunk_distance(first[:, :2], second[:, :2], scale[:2]))


def test_a_bundle_hears_other_words_and_nothing_else_changes(tmp_path: Path) -> None:
    train_synthetic("pi05", tiny_preset(steps=30, fine=False), tmp_path, condition=POSITIVE)
    source = last_candidate(tmp_path)
    guided = tmp_path / "guided"
    with_acting(source, guided, Acting(guidance=2.0, noise_scale=0.5))
    told = {words: tmp_path / f"told-{place}" for place, words in enumerate((POSITIVE, NEGATIVE, ""))}
    ids = {words: with_condition(guided, path, words) for words, path in told.items()}
    assert ids[POSITIVE] == load_policy(guided).policy_id
    assert len({*ids.values()}) == 3
    seen = make_observation(0)
    acted = {words: load_policy(path).act(seen, noise_seed=1) for words, path in told.items()}
    np.testing.assert_array_equal(acted[POSITIVE], load_policy(guided).act(seen, noise_seed=1))
    assert not np.array_equal(acted[POSITIVE], acted[NEGATIVE])
    assert not np.array_equal(acted[""], acted[NEGATIVE])
    for words, path in told.items():
        said = {name: json.loads((path / name).read_bytes()) for name in ("config.json", "recap.json")}
        assert {one["condition"] for one in said.values()} == {words}
        assert {one["guidance"] for one in said.values()} == {2.0 if words else 1.0}
        assert {one["noise_scale"] for one in said.values()} == {0.5}
        steps = json.loads((path / "policy_preprocessor.json").read_bytes())["steps"]
        assert [step["config"]["condition"] for step in steps if "condition" in step["config"]] == [words]
        assert (path / "model.safetensors").samefile(guided / "model.safetensors")
    with pytest.raises(ConfigError, match="expected one of"):
        with_condition(source, tmp_path / "wrong", "Advantage: huge")


def _probe(positive: int, negative: int, ratio: float | None, attempts: int = 100) -> ArmResult:
    def told(successes: int) -> Told:
        interval = wilson_interval(successes, attempts)
        return Told(
            attempts=attempts,
            successes=successes,
            success=successes / attempts,
            success_low=interval.low,
            success_high=interval.high,
            by_task={},
        )

    conditions = {"positive": told(positive), "negative": told(negative), "absent": told(negative)}
    distance = ActionDistance(frames=9, condition=0.07, noise=0.2, ratio=ratio)
    probe = ConditionProbe(
        arm="viva", tasks=("t",), split="validation", policy_id="p", conditions=conditions, distance=distance
    )
    return ArmResult(iteration=1, arm="viva", beside=False, success=None, split="", positive=0.4, probe=probe)


def test_the_reading_says_no_more_than_the_attempts() -> None:
    assert "-5 points of 100 starts each, which these attempts cannot tell from 0" in reading(_probe(52, 57, 0.33))
    assert "hardly read" in reading(_probe(52, 57, 0.33))
    far = reading(_probe(81, 31, 1.4))
    assert "+50 points of 100 starts each, beyond chance" in far
    assert "hardly" not in far
    assert "acts without noise" in reading(_probe(81, 31, None))
