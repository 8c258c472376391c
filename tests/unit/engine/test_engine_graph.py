"""Steps and graphs: what does not fit together is refused when it is put together."""

from __future__ import annotations

from typing import Any

import pytest
from toy_steps import TOY_STEPS, NumbersConfig, ScaleConfig, toy_graph

from recap.errors import ConfigError, GraphError, UnknownName
from recap.graph import Graph, NodeHandle, OutputRef
from recap.registry import Registry
from recap.step import JsonOutput, StepSpec, key_facts, key_of, library_version, step


def test_order_puts_every_node_after_what_it_needs() -> None:
    assert [node.name for node in toy_graph().order()] == ["0/numbers", "0/scale", "limit", "0/parity", "0/report"]


def test_a_node_added_early_comes_before_others_that_are_free_sooner() -> None:
    graph = Graph(steps=TOY_STEPS)
    one = graph.add("one", "numbers", NumbersConfig())
    graph.add("two", "scale", ScaleConfig(), numbers=one["numbers"])
    graph.add("three", "numbers", NumbersConfig(seed=1))
    assert [node.name for node in graph.order()] == ["one", "two", "three"]


def test_a_node_may_refer_to_one_added_later() -> None:
    graph = Graph(steps=TOY_STEPS)
    graph.add("b", "scale", ScaleConfig(), numbers=OutputRef("a", "numbers"))
    graph.add("a", "numbers", NumbersConfig())
    assert [node.name for node in graph.order()] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "inputs", "expected"),
    [
        (("a", "numbers", ScaleConfig()), {}, "takes settings of NumbersConfig, got ScaleConfig"),
        (("a", "numbers", None), {}, "takes settings of NumbersConfig, got NoneType"),
        (("a", "parity", NumbersConfig()), {"sum": OutputRef("x", "sum")}, "takes settings of None, got NumbersConfig"),
        (("a", "scale", ScaleConfig()), {}, "needs the input numbers"),
        (("a", "numbers", NumbersConfig()), {"demos": OutputRef("x", "y")}, "unknown input of step 'numbers' 'demos'"),
        (("a", "scale", ScaleConfig()), {"numbers": "x:numbers"}, "got str"),
        (("../a", "numbers", NumbersConfig()), {}, "node name '../a'"),
        (("a//b", "numbers", NumbersConfig()), {}, "node name 'a//b'"),
    ],
)
def test_a_node_that_does_not_fit_is_refused(arguments: Any, inputs: Any, expected: str) -> None:
    with pytest.raises(GraphError) as raised:
        Graph(steps=TOY_STEPS).add(*arguments, **inputs)
    assert expected in raised.value.message


def test_unknown_steps_and_outputs_are_answered_with_the_nearest() -> None:
    graph = Graph(steps=TOY_STEPS)
    with pytest.raises(UnknownName, match="did you mean 'numbers'"):
        graph.add("a", "number", NumbersConfig())
    with pytest.raises(UnknownName, match="did you mean 'numbers'"):
        graph.add("a", "numbers", NumbersConfig())["number"]


def test_two_nodes_of_one_name_are_refused() -> None:
    graph = toy_graph()
    with pytest.raises(GraphError, match="two nodes named 'limit'"):
        graph.constant("limit", 1)


def cyclic() -> Graph:
    graph = Graph(steps=TOY_STEPS)
    graph.add("a", "parity", None, sum=OutputRef("b", "sum"))
    graph.add("b", "scale", ScaleConfig(), numbers=OutputRef("a", "parity"))
    return graph


def dangling(ref: OutputRef) -> Graph:
    graph = toy_graph()
    graph.add("z", "parity", None, sum=ref)
    return graph


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (cyclic(), "wait for each other: a, b"),
        (dangling(OutputRef("nowhere", "sum")), "no node 'nowhere'"),
        (dangling(OutputRef("0/numbers", "sum")), "0/numbers:sum is not one of numbers"),
    ],
)
def test_order_refuses_what_cannot_be_ordered(graph: Graph, expected: str) -> None:
    with pytest.raises(GraphError, match=expected):
        graph.order()


@pytest.mark.parametrize("declared", [{"name": "a/b"}, {"outputs": ()}, {"outputs": ("x", "x")}, {"inputs": ("..",)}])
def test_a_step_that_cannot_be_stored_is_refused(declared: dict[str, Any]) -> None:
    registry: Registry[StepSpec] = Registry("none")
    with pytest.raises(ConfigError):
        step(**{"name": "s", "version": 1, "outputs": ("x",), "registry": registry, **declared})


def recording(*, recorded: Any) -> StepSpec:
    registry: Registry[StepSpec] = Registry("none")

    @step(name="s", version=1, config=NumbersConfig, outputs=("x",), recorded=recorded, registry=registry)
    def s(ctx: Any, config: Any, inputs: Any) -> Any:
        return {"x": JsonOutput(1)}

    return registry.get("s")


def test_recorded_may_depend_on_the_settings_and_binds_the_key_to_run_and_node() -> None:
    spec = recording(recorded=lambda config: config.seed > 0)
    here = {"run_name": "r", "node": "n"}
    elsewhere = {"run_name": "q", "node": "n"}
    simulated, real = NumbersConfig(seed=0), NumbersConfig(seed=1)
    assert key_of(key_facts(spec, simulated, {}, **here)) == key_of(key_facts(spec, simulated, {}, **elsewhere))
    assert key_of(key_facts(spec, real, {}, **here)) != key_of(key_facts(spec, real, {}, **elsewhere))


def test_library_versions_are_major_minor_and_absent_ones_refused() -> None:
    assert library_version("numpy").count(".") == 1
    with pytest.raises(ConfigError, match="'no-such-library' is not installed"):
        library_version("no-such-library")


def test_handles_name_their_outputs() -> None:
    handle = NodeHandle("a", TOY_STEPS.get("scale"))
    assert str(handle["sum"]) == "a:sum"
