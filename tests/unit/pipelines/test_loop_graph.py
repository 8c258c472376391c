"""The graph of a run: what follows what, and which settings the loop fixes so that arms can be compared."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.config import PRESETS, LoopConfig
from pipelines.invocation import Invocation
from pipelines.loop import build_graph
from pipelines.steps.advantage import AdvantageConfig
from pipelines.wiring import lookahead_steps
from recap.errors import ConfigError, HealthError
from recap.graph import Node
from recap.step import STEPS

TASK = "shirt_folding"


def _nodes(config: LoopConfig) -> dict[str, Node]:
    return {node.name: node for node in build_graph(config).order()}


@pytest.mark.parametrize("preset", ["sim", "smoke", "micro"])
def test_every_preset_makes_a_whole_graph(preset: str) -> None:
    config = PRESETS.get(preset)(TASK)
    nodes = _nodes(config)
    assert len(nodes) == 5 + 9 * config.iterations
    for k in range(1, config.iterations + 1):
        assert nodes[f"{k}/policy"].inputs["base"].node == "0/pretrain"
        assert nodes[f"{k}/advantage"].inputs["value_health"].node == f"{k}/health"
        assert nodes[f"{k}/policy"].inputs["labels"].node == f"{k}/advantage"
        assert nodes[f"{k}/promote"].inputs["challenger"].node == f"{k}/select"


def test_the_champion_collects_and_experience_grows() -> None:
    nodes = _nodes(replace(PRESETS.get("sim")(TASK), iterations=3))
    assert nodes["1/collect"].inputs["policy"].node == "0/select"
    assert nodes["2/collect"].inputs["policy"].node == "1/promote"
    assert nodes["3/promote"].inputs["champion"].node == "2/promote"
    assert nodes["3/collect"].inputs["previous"].node == "2/collect"


def test_no_start_is_used_twice() -> None:
    config = replace(PRESETS.get("sim")(TASK), iterations=3)
    nodes = _nodes(config)
    demos = nodes["0/collect"].config
    taken = set(range(demos.first_seed, demos.first_seed + demos.episodes))
    gate: set[int] = set()
    for k in (1, 2, 3):
        rollout, promote = nodes[f"{k}/collect"].config, nodes[f"{k}/promote"].config
        starts = set(range(rollout.first_seed, rollout.first_seed + rollout.attempts + rollout.corrections))
        gated = set(range(promote.first_seed, promote.first_seed + promote.gate.cap))
        assert not starts & taken
        assert not gated & gate
        taken |= starts
        gate |= gated


def test_rollouts_that_would_repeat_a_demonstration_are_refused() -> None:
    config = PRESETS.get("sim")(TASK)
    config = replace(config, rollout=replace(config.rollout, first_seed=10))
    with pytest.raises(ConfigError, match="demonstrations use as well"):
        build_graph(config)


def test_imitation_and_recap_train_for_the_same_number_of_steps_with_the_same_choice() -> None:
    nodes = _nodes(PRESETS.get("sim")(TASK))
    assert nodes["0/policy"].config.model == nodes["1/policy"].config.model
    assert (nodes["0/policy"].config.tags, nodes["1/policy"].config.tags) == ("positive", "labels")
    assert nodes["0/select"].config.attempts == nodes["1/select"].config.attempts
    assert nodes["0/evaluate"].config == nodes["1/evaluate"].config


def test_the_lookahead_is_the_tasks_and_at_least_the_executed_chunk() -> None:
    config = PRESETS.get("sim")(TASK)
    assert lookahead_steps(config) == 18
    long = replace(config.policy, model=replace(config.policy.model, chunk=30, execute=25))
    assert lookahead_steps(replace(config, policy=long)) == 25
    base = replace(config.pretrain, model=replace(config.pretrain.model, chunk=30))
    assert _nodes(replace(config, policy=long, pretrain=base))["1/value"].config.lookahead == 25


def test_the_seed_reaches_every_training_but_the_base() -> None:
    config = Invocation.of(task=TASK, seed=3).config()
    base = config.pretrain.model.seed
    for seed in range(10):
        other = Invocation.of(task=TASK, seed=seed).config()
        assert other.pretrain.model.seed == base, "the base is the same for all seeds"
        assert other.policy.model.seed != base, "imitation would meet its base's batches and noise again"
    assert (config.policy.model.seed, config.value.seed, config.rollout.noise_seed) == (3, 3, 3)


def test_flags_of_the_loop_come_back_in_the_command(tmp_path) -> None:  # type: ignore[no-untyped-def]
    invocation = Invocation.of(task=TASK, iterations=2, value_model="oracle", unlabelled="skip")
    config = invocation.config()
    assert config.iterations == 2
    assert type(config.value.model).__name__ == "OracleConfig"
    assert config.annotate.unlabelled == "skip"
    command = invocation.command(tmp_path)
    assert "--iterations 2 --value-model oracle --unlabelled skip" in command
    assert "--iterations" not in Invocation.of(task=TASK).command(tmp_path)


def test_values_that_miss_a_bound_label_nothing_unless_that_is_asked_for() -> None:
    problem = "shirt_folding: value_std 0 over 6 episodes, expected at least 0.001 (min_value_std)"

    def judged(*, enforce: bool) -> dict[str, Any]:
        return {"value_health": SimpleNamespace(json=lambda: {"problems": [problem], "enforce": enforce})}

    advantage = STEPS.get("advantage").function
    config = AdvantageConfig(task=TASK)
    with pytest.raises(HealthError, match="value_std 0 over 6 episodes"):
        advantage(None, config, judged(enforce=True))  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="values"):  # it goes on to read them
        advantage(None, config, judged(enforce=False))  # type: ignore[arg-type]


def test_labels_and_values_share_one_return() -> None:
    config = PRESETS.get("sim")(TASK)
    config = replace(config, value=replace(config.value, returns=replace(config.value.returns, c_fail=0.5)))
    assert _nodes(config)["1/advantage"].config.returns.c_fail == 0.5


def test_gate_starts_begin_where_they_are_told_to() -> None:
    config = PRESETS.get("sim")(TASK)
    config = replace(config, iterations=2, promote=replace(config.promote, first_seed=500))
    nodes = _nodes(config)
    assert [nodes[f"{k}/promote"].config.first_seed for k in (1, 2)] == [500, 500 + config.promote.gate.cap]
