"""What the graph derives for a step travels beside its settings; inputs may be several; nodes have names with parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from toy_steps import NumbersConfig, toy_graph

from recap.config import setting
from recap.errors import ConfigError, GraphError
from recap.explain import explain
from recap.graph import Graph, NodeName, OutputRef
from recap.registry import Registry
from recap.runner import Runner, RunSummary
from recap.step import Artifact, JsonOutput, StepContext, StepSpec, step
from recap.workspace import Workspace

STEPS: Registry[StepSpec] = Registry("none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    tasks: tuple[str, ...]
    seed: int = 0
    workers: int = setting(1, minimum=1, semantic=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A step's output."""

    tasks: tuple[str, ...]
    seed: int
    means: Mapping[str, float]


def _lengths(facts: Facts) -> Mapping[str, Any]:
    return {"length": {task: LENGTHS.get(task, 1) for task in facts.tasks}}


LENGTHS: dict[str, int] = {}


@step(name="number", version=1, config=NumbersConfig, outputs=("x",), registry=STEPS)
def number(ctx: StepContext, config: NumbersConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    return {"x": JsonOutput(config.seed)}


@step(
    name="tell",
    version=1,
    config=NumbersConfig,
    facts=Facts,
    several=("sets",),
    optional=("extra",),
    outputs=("told",),
    context=_lengths,
    registry=STEPS,
)
def tell(
    ctx: StepContext, config: NumbersConfig, facts: Facts, inputs: Mapping[str, Artifact]
) -> Mapping[str, JsonOutput]:
    means = {name: float(given.json()) for name, given in inputs.items()}
    return {"told": JsonOutput.of(Told(tasks=facts.tasks, seed=facts.seed, means=means))}


NODE = NodeName(1, "tell", "fold")
FACTS = Facts(tasks=("fold", "sort"), seed=3)


def _graph(facts: Facts = FACTS, names: tuple[str, ...] = ("a", "b")) -> Graph:
    graph = Graph(steps=STEPS)
    sets = {name: graph.add(f"0/{name}", "number", NumbersConfig(seed=ord(name)))["x"] for name in names}
    graph.add(NODE, "tell", NumbersConfig(), facts, sets=sets)
    return graph


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def _no_executor() -> Any:
    raise AssertionError("nothing asked for an executor")


def _run(workspace: Workspace, graph: Graph) -> RunSummary:
    return Runner(workspace, _no_executor).run(graph, "r")


def _why(workspace: Workspace, graph: Graph) -> tuple[str, str]:
    plan = next(plan for plan in explain(workspace, graph, "r") if plan.node == str(NODE))
    return plan.state, plan.why


def test_a_step_is_given_its_facts_and_every_one_of_several_inputs(workspace: Workspace) -> None:
    done = _run(workspace, _graph())
    told = done.outputs["1/fold/tell"]["told"].read(Told)
    assert told == Told(tasks=("fold", "sort"), seed=3, means={"sets/a": 97.0, "sets/b": 98.0})
    assert _run(workspace, _graph()).executed == []


def test_facts_are_part_of_the_key_unless_they_change_no_result(workspace: Workspace) -> None:
    _run(workspace, _graph())
    other = _graph(replace(FACTS, seed=4))
    assert _why(workspace, other) == ("run", "seed: 3 -> 4")
    assert _run(workspace, other).executed == [str(NODE)]
    assert _run(workspace, _graph(replace(FACTS, workers=7))).executed == []


def test_what_facts_name_is_part_of_the_key(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(workspace, _graph())
    monkeypatch.setitem(LENGTHS, "sort", 9)
    assert _why(workspace, _graph()) == ("run", "length.sort: 1 -> 9")
    monkeypatch.setitem(LENGTHS, "else", 9)
    assert _run(workspace, _graph()).executed == [str(NODE)]


def test_one_more_of_several_inputs_is_another_result_and_the_first_stays(workspace: Workspace) -> None:
    _run(workspace, _graph())
    again = _run(workspace, _graph(names=("a", "b", "c")))
    assert again.executed == ["0/c", str(NODE)]
    assert again.cached == ["0/a", "0/b"]


def test_the_names_of_several_inputs_count(workspace: Workspace) -> None:
    def named(first: str, second: str) -> Graph:
        graph = Graph(steps=STEPS)
        one, two = (graph.add(f"0/{name}", "number", NumbersConfig(seed=ord(name)))["x"] for name in "ab")
        graph.add(NODE, "tell", NumbersConfig(), FACTS, sets={first: one, second: two})
        return graph

    _run(workspace, named("x", "y"))
    assert _run(workspace, named("x", "y")).executed == []
    assert _run(workspace, named("y", "x")).executed == [str(NODE)]


X = OutputRef("0/a", "x")


@pytest.mark.parametrize(
    ("facts", "inputs", "said"),
    [
        (None, {}, "takes facts of Facts, got NoneType"),
        (NumbersConfig(), {}, "takes facts of Facts, got NumbersConfig"),
        (FACTS, {"set": {"a": X}}, "did you mean 'sets'"),
        (FACTS, {"sets": X}, "sets"),
        (FACTS, {"extra": {"a": X}}, "extra"),
    ],
)
def test_facts_and_inputs_that_do_not_fit_are_refused(facts: Any, inputs: Any, said: str) -> None:
    with pytest.raises(GraphError) as refused:
        Graph(steps=STEPS).add(NODE, "tell", NumbersConfig(), facts, **inputs)
    assert said in refused.value.message
    assert "node '1/fold/tell'" in refused.value.message


def test_a_step_without_facts_takes_none() -> None:
    with pytest.raises(GraphError, match="takes facts of None, got Facts"):
        Graph(steps=STEPS).add("0/a", "number", NumbersConfig(), FACTS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (NodeName(0, "policy"), "0/policy"),
        (NodeName(12, "record", "box_assembly"), "12/box_assembly/record"),
        (NodeName(1, "value_train", "viva"), "1/viva/value_train"),
    ],
)
def test_names_of_nodes_have_parts_and_come_back_from_their_text(name: NodeName, text: str) -> None:
    assert str(name) == text
    assert NodeName.parse(text) == name


@pytest.mark.parametrize(
    "text", ["", "policy", "x/policy", "1", "1/", "1//policy", "-1/policy", "1/../policy", "1/a b"]
)
def test_what_is_no_name_of_a_node_is_refused(text: str) -> None:
    with pytest.raises(GraphError, match="expected ITERATION/STAGE"):
        NodeName.parse(text)


def test_an_output_of_another_form_is_refused_by_name(workspace: Workspace) -> None:
    done = _run(workspace, _graph())
    with pytest.raises(ConfigError, match="unknown setting of NumbersConfig 'tasks'"):
        done.outputs[str(NODE)]["told"].read(NumbersConfig)


def test_the_toy_graph_has_no_facts() -> None:
    assert {node.facts for node in toy_graph().order()} == {None}
