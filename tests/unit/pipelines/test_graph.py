"""The graph of a run: what follows what, and what the loop fixes so that arms can be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.config import PRESETS, Models, RunConfig
from pipelines.facts import ActingFacts
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.steps.advantage.step import AdvantageConfig, ArmFacts
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.steps.record.step import RecordFacts
from pipelines.wiring import lookaheads
from recap.config import to_json
from recap.errors import ConfigError, HealthError
from recap.graph import Node
from recap.step import STEPS, Artifact, key_facts, key_of
from value_model.returns import ReturnConfig

TASK = "shirt_folding"


def _config(preset: str = "sim", **models: Any) -> RunConfig:
    return PRESETS.get(preset)((TASK,), Models(**models))


def _nodes(config: RunConfig) -> dict[str, Node]:
    return {node.name: node for node in build_graph(config).order()}


@pytest.mark.parametrize("preset", ["sim", "smoke", "micro"])
def test_every_preset_makes_a_whole_graph(preset: str) -> None:
    config = _config(preset)
    nodes = _nodes(config)
    assert len(nodes) == 5 + (9 + 2 * len(config.values)) * config.iterations
    for k in range(1, config.iterations + 1):
        assert nodes[f"{k}/policy"].inputs["base"].node == "0/pretrain"
        assert nodes[f"{k}/advantage"].inputs["value_health"].node == f"{k}/judge"
        assert nodes[f"{k}/advantage"].inputs["values"].node == f"{k}/{config.labels}/value_label"
        assert nodes[f"{k}/policy"].inputs["labels"].node == f"{k}/advantage"
        assert nodes[f"{k}/gate"].inputs["challenger"].node == f"{k}/checkpoint_selection"


def test_every_value_model_is_trained_and_labels_on_its_own_and_all_are_judged() -> None:
    nodes = _nodes(_config("micro", value="clock", beside=("viva",)))
    for name in ("clock", "viva"):
        train, label = nodes[f"1/{name}/value_train"], nodes[f"1/{name}/value_label"]
        assert {ref.node for ref in train.inputs.values()} == {"1/experience", "1/annotate"}
        assert {ref.node for ref in label.inputs.values()} == {train.name}
        assert nodes["1/judge"].inputs[f"values/{name}"].node == label.name
        assert label.facts.again == (name == "clock"), "only those that label are labelled again"
    assert nodes["1/judge"].facts.name == "clock"


def test_the_champion_collects_and_experience_grows() -> None:
    nodes = _nodes(replace(_config(), iterations=3))
    assert nodes[f"1/{TASK}/record"].inputs["policy"].node == "0/checkpoint_selection"
    assert nodes[f"2/{TASK}/record"].inputs["policy"].node == "1/gate"
    assert nodes["3/gate"].inputs["champion"].node == "2/gate"
    recorded = [f"{k}/{TASK}/record" for k in range(4)]
    for k in (1, 2, 3):
        assert [ref.node for ref in nodes[f"{k}/experience"].inputs.values()] == recorded[: k + 1]
        for learner in ("annotate", "viva/value_train", "policy"):
            assert nodes[f"{k}/{learner}"].inputs["experience"].node == f"{k}/experience"


def test_without_a_gate_imitation_stays_champion() -> None:
    nodes = _nodes(replace(_config(), iterations=2, gated=False))
    assert not [name for name in nodes if name.endswith("/gate")]
    assert nodes[f"2/{TASK}/record"].inputs["policy"].node == "0/checkpoint_selection"


def _taken(facts: ActingFacts, count: int) -> set[int]:
    return set(range(facts.first_seed, facts.first_seed + count))


def test_no_start_is_used_twice() -> None:
    config = replace(_config(), iterations=3)
    nodes = _nodes(config)
    taken = _taken(nodes[f"0/{TASK}/record"].facts, config.demos.starts)
    gate: set[int] = set()
    for k in (1, 2, 3):
        starts = _taken(nodes[f"{k}/{TASK}/record"].facts, config.rollouts.starts)
        gated = _taken(nodes[f"{k}/gate"].facts, config.gate.cap)
        assert not starts & taken
        assert not gated & gate
        taken |= starts
        gate |= gated


def test_demonstrations_that_would_repeat_a_rollouts_start_are_refused() -> None:
    config = _config()
    build_graph(replace(config, demos=replace(config.demos, episodes=1_000_000)))
    import pipelines.graph

    assert pipelines.graph.ROLLOUTS_FROM == 1_000_000, "what the limit of the setting is, too"
    with pytest.raises(ConfigError, match="rollouts begin at 50") as refused:
        pipelines.graph.check_starts(pipelines.graph.Split.TRAIN, 51, 0, "demos.episodes", limit=50)
    assert refused.value.hint.startswith("a lower demos.episodes")


def test_imitation_and_recap_train_for_the_same_number_of_steps_with_the_same_choice() -> None:
    nodes = _nodes(_config())
    assert nodes["0/policy"].config == nodes["1/policy"].config
    assert (nodes["0/policy"].facts.condition, nodes["1/policy"].facts.condition) == ("positive", "labels")
    assert nodes["0/pretrain"].facts.condition == "none"
    first, second = (nodes[f"{k}/checkpoint_selection"] for k in (0, 1))
    assert first.config.attempts == second.config.attempts
    assert first.config.guidance == (1.0,), "no other condition that a guidance could push away from"
    assert (first.facts.guide, second.facts.guide) == (False, True)
    assert nodes[f"0/{TASK}/evaluate"].config == nodes[f"1/{TASK}/evaluate"].config
    assert nodes[f"0/{TASK}/evaluate"].facts == nodes[f"1/{TASK}/evaluate"].facts


def test_one_world_reaches_every_step_that_acts() -> None:
    config = _config("micro")
    config = replace(config, env=replace(config.env, renderer="ray", image_size=48))
    acting = [node for node in _nodes(config).values() if isinstance(node.facts, ActingFacts)]
    assert {node.name.rpartition("/")[2] for node in acting} == {"record", "checkpoint_selection", "gate", "evaluate"}
    assert {node.facts.env for node in acting} == {config.env}


def test_the_lookahead_is_the_tasks_and_at_least_the_executed_chunk() -> None:
    config = _config()
    assert lookaheads(config) == {TASK: 18}
    long = replace(config.policy, model=replace(config.policy.model, chunk=30, execute=25))
    config = replace(config, policy=long)
    assert lookaheads(config) == {TASK: 25}
    nodes = _nodes(config)
    for name in ("viva/value_train", "judge", "advantage"):
        assert nodes[f"1/{name}"].facts.lookahead == {TASK: 25}


def test_the_seed_reaches_every_training_but_the_base() -> None:
    def seeds(seed: int) -> dict[str, Any]:
        nodes = _nodes(Invocation.of(task=TASK, preset="micro", seed=seed).config())
        return {name: getattr(node.facts, "seed", None) for name, node in nodes.items()} | {
            "rollouts": nodes[f"1/{TASK}/record"].facts.noise_seed,
            "labels": nodes["1/viva/value_label"].facts.noise_seed,
        }

    base = seeds(3)["0/pretrain"]
    for seed in range(10):
        found = seeds(seed)
        assert found["0/pretrain"] == base, "the base is the same for all seeds"
        assert found["0/policy"] != base, "imitation would meet its base's batches and noise again"
    found = seeds(3)
    assert {found[name] for name in ("0/policy", "1/policy", "1/viva/value_train", "rollouts", "labels")} == {3}


def test_flags_of_the_loop_come_back_in_the_command(tmp_path: Path) -> None:
    invocation = Invocation.of(task=TASK, iterations=2, value="oracle", values="none", unlabelled="skip")
    config = invocation.config()
    assert config.iterations == 2
    assert (config.labels, config.rule("oracle"), list(config.values)) == ("oracle", "", ["oracle"])
    assert config.annotate.unlabelled == "skip"
    command = invocation.command(tmp_path)
    assert "--iterations 2 --value oracle --values none --unlabelled skip" in command
    assert "--iterations" not in Invocation.of(task=TASK).command(tmp_path)


def test_values_that_miss_a_bound_label_nothing_unless_that_is_asked_for(tmp_path: Path) -> None:
    problem = "shirt_folding: value_std 0 over 6 episodes, expected at least 0.001 (min_value_std)"

    def judged(*, enforce: bool) -> dict[str, Artifact]:
        health = ValueHealth(name="viva", held_out=True, models={}, problems=(problem,), enforce=enforce)
        given = SimpleNamespace(read=lambda kind: health, json=lambda: to_json(health))
        return {"value_health": given}  # type: ignore[dict-item]

    advantage: Any = STEPS.get("advantage").function
    facts = ArmFacts(tasks=(TASK,), name="viva", rule="", lookahead={TASK: 18}, returns=ReturnConfig())
    ctx = SimpleNamespace(node="1/advantage")
    with pytest.raises(HealthError, match="value_std 0 over 6 episodes"):
        advantage(ctx, AdvantageConfig(), facts, judged(enforce=True))
    with pytest.raises(AttributeError, match="workspace"):  # it goes on to read episodes
        advantage(ctx, AdvantageConfig(), facts, judged(enforce=False))


ARMS = ("outcome", "random", "flaw", "all", "oracle")


def _keys(nodes: dict[str, Node]) -> dict[str, str]:
    """{node: its key, were its inputs named by where they come from}."""
    return {
        node.name: key_of(
            key_facts(node.spec, node.config, {k: str(ref) for k, ref in node.inputs.items()}, facts=node.facts)
        )
        for node in nodes.values()
    }


def test_arms_beside_train_from_the_same_base_on_the_same_data_and_change_no_node_of_the_main_one() -> None:
    plain, config = _nodes(_config("micro")), replace(_config("micro"), arms=ARMS)
    nodes = _nodes(config)
    before, keys = _keys(plain), _keys(nodes)
    assert {name: keys[name] for name in before} == before
    added = [name for name in nodes if name not in plain]
    stages = ("advantage", "policy", "checkpoint_selection", f"{TASK}/evaluate")
    assert added == [f"1/{arm}/{stage}" for arm in ARMS for stage in stages]
    for arm in ARMS:
        own, main = nodes[f"1/{arm}/policy"], nodes["1/policy"]
        assert (own.config, own.facts) == (main.config, main.facts)
        assert {**own.inputs, "labels": None} == {**main.inputs, "labels": None}
        assert own.inputs["labels"].node == f"1/{arm}/advantage"
        choice = nodes[f"1/{arm}/checkpoint_selection"]
        assert (choice.config, choice.facts) == (
            nodes["1/checkpoint_selection"].config,
            nodes["1/checkpoint_selection"].facts,
        )
        assert nodes[f"1/{arm}/{TASK}/evaluate"].inputs["policy"].node == choice.name
        assert set(nodes[f"1/{arm}/advantage"].inputs) == {"annotations", "episodes"} | (
            {"main"} if arm == "random" else set()
        )
    assert nodes["1/random/advantage"].inputs["main"].node == "1/advantage"
    assert nodes["1/gate"].inputs["challenger"].node == "1/checkpoint_selection"


def test_an_arm_of_another_value_model_is_judged_by_itself() -> None:
    nodes = _nodes(Invocation.of(task=TASK, preset="micro", arms="clock").config())
    arm = nodes["1/clock/advantage"]
    assert (arm.inputs["values"].node, arm.inputs["value_health"].node) == ("1/clock/value_label", "1/clock/judge")
    assert (arm.facts.rule, nodes["1/clock/judge"].facts.name) == ("", "clock")
    assert nodes["1/advantage"].inputs["value_health"].node == "1/judge"


@pytest.mark.parametrize("arms", ["", "random,flaw"])
def test_without_an_arm_that_needs_values_no_value_model_is_trained(arms: str) -> None:
    nodes = _nodes(Invocation.of(task=TASK, preset="micro", labels="outcome", arms=arms or None).config())
    assert not [n for n in nodes.values() if n.spec.name in ("value_train", "value_label", "judge")]
    assert nodes["1/policy"].inputs["labels"].node == "1/advantage"
    assert nodes["1/advantage"].facts.rule == "outcome"
    named = _nodes(Invocation.of(task=TASK, preset="micro", labels="outcome", values="clock,state_only").config())
    assert {"1/clock/value_train", "1/state_only/value_label", "1/judge"} <= set(named)
    assert named["1/judge"].facts.name == "clock"
    assert "values" not in named["1/advantage"].inputs
    beside = _nodes(Invocation.of(task=TASK, preset="micro", labels="outcome", arms="viva").config())
    assert beside["1/viva/advantage"].inputs["value_health"].node == "1/judge"
    assert beside["1/judge"].facts.name == "viva"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"labels": "outcome", "value": "viva"}, "--value viva with --labels outcome: its values would label nothing"),
        ({"labels": "clock", "value": "viva"}, "--value viva with --labels clock"),
        ({"labels": "oracle", "values": "oracle"}, "'oracle' is a value model of this run and an arm"),
        ({"arms": "random", "value": "random"}, "'random' is a value model of this run and an arm"),
        ({"labels": "outcom"}, "unknown arm 'outcom': did you mean 'outcome'?"),
        ({"arms": "flow"}, "unknown arm 'flow': did you mean 'flaw'?"),
        ({"arms": "viva"}, "arms viva, viva: one is listed twice"),
        ({"arms": "flaw", "iterations": 0}, "--arms flaw with 0 iterations: nothing would be labelled"),
        ({"settings": ["labels=outcome"]}, "--set labels: it is an option of the run"),
        ({"labels": "outcome", "settings": ["advantage.label.positive_fraction=0.3"]}, "it has no effect in this run"),
    ],
)
def test_arms_that_do_not_go_together_are_refused_by_name(typed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Invocation.of(task=TASK, preset="micro", **typed).config()
    assert said in str(refused.value)


def test_a_value_model_named_as_an_arm_labels_where_it_is_asked_for_as_a_value_model() -> None:
    by_value = Invocation.of(task=TASK, preset="micro", value="oracle").config()
    by_rule = Invocation.of(task=TASK, preset="micro", labels="oracle").config()
    assert (by_value.labels, by_value.rule("oracle"), by_value.judged) == ("oracle", "", "oracle")
    assert (by_rule.labels, by_rule.rule("oracle"), by_rule.judged) == ("oracle", "oracle", "")
    assert Invocation.of(task=TASK, labels="outcome", arms="viva").config().values.keys() == {
        "viva",
        "clock",
        "state_only",
    }


def test_the_seed_of_a_drawn_arm_is_the_runs() -> None:
    nodes = _nodes(Invocation.of(task=TASK, preset="micro", seed=3, arms="random,outcome").config())
    seeds = {arm: nodes[f"1/{arm}/advantage"].facts.seed for arm in ("random", "outcome")}
    assert seeds == {"random": 3, "outcome": 0}


def test_labels_and_values_share_one_return() -> None:
    config = _config()
    nodes = _nodes(replace(config, returns=replace(config.returns, c_fail=0.5)))
    assert nodes["1/viva/value_train"].config.returns.c_fail == 0.5
    for name in ("judge", "advantage"):
        assert nodes[f"1/{name}"].facts.returns.c_fail == 0.5


def test_every_gate_is_played_on_starts_of_its_own() -> None:
    config = replace(_config(), iterations=2)
    nodes = _nodes(config)
    assert [nodes[f"{k}/gate"].facts.first_seed for k in (1, 2)] == [0, config.gate.cap]


def test_the_role_says_what_is_recorded() -> None:
    nodes = _nodes(_config("micro"))
    roles = {name: node.facts.role for name, node in nodes.items() if isinstance(node.facts, RecordFacts)}
    assert roles == {f"0/{TASK}/record": "demos", f"1/{TASK}/record": "rollouts"}


def test_an_arm_that_permutes_labels_which_are_all_the_same_is_refused() -> None:
    made = PRESETS.get("micro")(("shirt_folding",), Models(value="", labels="all", beside=()))
    with pytest.raises(ConfigError, match="arm random permutes the labels of all"):
        replace(made, arms=("random",))
    replace(made, labels="outcome", arms=("random",))
