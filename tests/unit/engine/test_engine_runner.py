"""The runner: executes what is missing, in order, and says what it did."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.fakes import InlineExecutor, RecordingJournal, RecordingObserver
from tests.support.faults import damage
from toy_steps import NumbersConfig, toy_graph

from recap.errors import ConfigError, ResumeRefused, StepFailed, UnknownName, WaitingForLabels
from recap.explain import explain
from recap.graph import Graph
from recap.provenance import attempts_at, run_status
from recap.registry import Registry
from recap.runner import Runner
from recap.step import JsonOutput, StepSpec, step
from recap.store import Store
from recap.workspace import Workspace

ALL = ["0/numbers", "0/scale", "0/parity", "0/report"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def one_step(function: Any, **declared: Any) -> Graph:
    registry: Registry[StepSpec] = Registry("none")
    step(**{"name": "s", "version": 1, "config": NumbersConfig, "outputs": ("x",), "registry": registry, **declared})(
        function
    )
    graph = Graph(steps=registry)
    graph.add("n", "s", declared.pop("with_config", NumbersConfig()))
    return graph


def no_executor() -> Any:
    raise AssertionError("nothing asked for an executor")


def test_the_second_run_executes_nothing(workspace: Workspace) -> None:
    first = Runner(workspace, no_executor).run(toy_graph(), "r")
    again = Runner(workspace, no_executor).run(toy_graph(), "r")
    assert (first.executed, first.cached) == (ALL, [])
    assert (again.executed, again.cached) == ([], ALL)
    assert again.outputs == first.outputs
    assert Store(workspace).verify() == []


def test_results_are_shared_between_runs(workspace: Workspace) -> None:
    Runner(workspace, no_executor).run(toy_graph(), "one")
    assert Runner(workspace, no_executor).run(toy_graph(), "two").cached == ALL


def test_a_setting_outside_the_key_changes_nothing(workspace: Workspace) -> None:
    Runner(workspace, no_executor).run(toy_graph(workers=1), "r")
    assert Runner(workspace, no_executor).run(toy_graph(workers=8), "r").executed == []


def test_equal_output_cuts_recomputation_off(workspace: Workspace) -> None:
    def chain(count: int) -> Graph:
        registry: Registry[StepSpec] = Registry("none")
        made = lambda ctx, config, inputs: {"x": JsonOutput(config.count % 2)}  # noqa: E731
        used = lambda ctx, config, inputs: {"y": JsonOutput(inputs["x"].json())}  # noqa: E731
        step(name="a", version=1, config=NumbersConfig, outputs=("x",), registry=registry)(made)
        step(name="b", version=1, inputs=("x",), outputs=("y",), registry=registry)(used)
        built = Graph(steps=registry)
        built.add("b", "b", None, x=built.add("a", "a", NumbersConfig(count=count))["x"])
        return built

    assert Runner(workspace, no_executor).run(chain(2), "q").executed == ["a", "b"]
    assert Runner(workspace, no_executor).run(chain(4), "q").executed == ["a"]


def test_events_tell_the_story_in_order(workspace: Workspace) -> None:
    observer = RecordingObserver()
    Runner(workspace, no_executor, [observer]).run(toy_graph(), "r")
    assert observer.kinds() == ["run_started", *["step_started", "step_done"] * 4, "run_done"]
    started, done = observer.of("step_started")[1], observer.of("step_done")[1]
    assert started["node"] == done["node"] == "0/scale"
    assert started["config"]["factor"] == 2.0
    assert set(done["outputs"]) == {"model", "sum"}
    assert done["seconds"] >= 0
    assert observer.of("run_done")[0]["state"] == "done"
    json.dumps(observer.events)
    again = RecordingObserver()
    Runner(workspace, no_executor, [again]).run(toy_graph(), "r")
    assert again.kinds() == ["run_started", *["step_cached"] * 4, "run_done"]


def test_the_executor_is_made_once_when_asked_for_and_closed(workspace: Workspace) -> None:
    made: list[InlineExecutor] = []

    def factory() -> InlineExecutor:
        made.append(InlineExecutor())
        return made[-1]

    def uses(ctx: Any, config: Any, inputs: Any) -> Any:
        assert ctx.executor is ctx.executor
        return {"x": JsonOutput(ctx.executor.call("trainer", max, (1, 2)))}

    summary = Runner(workspace, factory).run(one_step(uses), "r")
    assert summary.outputs["n"]["x"].json() == 2
    assert [executor.closed for executor in made] == [True]
    Runner(workspace, no_executor).run(one_step(uses), "r")


def test_the_journal_is_bound_to_the_node(workspace: Workspace) -> None:
    journals: dict[str, RecordingJournal] = {}

    def tells(ctx: Any, config: Any, inputs: Any) -> Any:
        ctx.journal.progress(1, 2, "episodes")
        return {"x": JsonOutput(1)}

    runner = Runner(workspace, no_executor, journal_factory=lambda node: journals.setdefault(node, RecordingJournal()))
    runner.run(one_step(tells), "r")
    assert journals["n"].records == [("progress", 1, 2, "episodes")]


def raising(error: BaseException) -> Any:
    def function(ctx: Any, config: Any, inputs: Any) -> Any:
        (ctx.scratch / "progress").write_text("half")
        (ctx.out / "junk").write_text("junk")
        raise error

    return function


def test_a_step_that_raises_names_node_step_key_cause_and_next_command(workspace: Workspace) -> None:
    observer = RecordingObserver()
    runner = Runner(workspace, no_executor, [observer], resume_command="recap resume --name {run_name}")
    with pytest.raises(StepFailed) as raised:
        runner.run(one_step(raising(ZeroDivisionError("by zero"))), "r")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    key = observer.of("step_failed")[0]["key"]
    assert raised.value.message == f"n (step s, key {key[:16]}) failed: ZeroDivisionError: by zero"
    assert raised.value.hint == "recap resume --name r"
    assert observer.of("run_done")[0]["state"] == "failed"
    (attempt,) = attempts_at(workspace, "s", key)
    assert (attempt["state"], attempt["error"]["type"]) == ("failed", "ZeroDivisionError")
    assert "raise error" in attempt["error"]["traceback"]
    assert (Store(workspace).scratch_dir("s", key) / "progress").read_text() == "half"
    assert list((workspace.artifacts / ".tmp").iterdir()) == []
    assert run_status(workspace, "r").nodes[0].error == "ZeroDivisionError: by zero"


def test_the_hint_of_a_known_error_comes_first(workspace: Workspace) -> None:
    error = ResumeRefused("checkpoint lacks rng", hint="rm -r scratch/x")
    with pytest.raises(StepFailed) as raised:
        Runner(workspace, no_executor).run(one_step(raising(error)), "r")
    assert raised.value.hint == "rm -r scratch/x; then recap resume r"
    assert "checkpoint lacks rng" in raised.value.message


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyboardInterrupt(), "interrupted"), (SystemExit(3), "interrupted"), (WaitingForLabels("3 episodes"), "waiting")],
)
def test_interrupts_and_waiting_pass_through_after_being_recorded(
    workspace: Workspace, error: BaseException, state: str
) -> None:
    observer = RecordingObserver()
    with pytest.raises(type(error)) as raised:
        Runner(workspace, no_executor, [observer]).run(one_step(raising(error)), "r")
    assert raised.value is error
    (attempt,) = attempts_at(workspace, "s", observer.of("step_failed")[0]["key"])
    assert attempt["state"] == state
    status = run_status(workspace, "r")
    assert (status.state, status.nodes[0].state) == (state, state)
    assert observer.kinds()[-1] == "run_done"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ({}, r"returned \[\]: expected \['x'\]"),
        ({"x": JsonOutput(1), "y": JsonOutput(1)}, r"returned \['x', 'y'\]"),
        ({"x": 1}, "output 'x' of step 's' is int"),
        (None, "returned NoneType"),
        ({"x": JsonOutput(float("inf"))}, "output 'x' is inf"),
    ],
)
def test_what_a_step_did_not_declare_is_refused(workspace: Workspace, returned: Any, expected: str) -> None:
    with pytest.raises(StepFailed, match=expected):
        Runner(workspace, no_executor).run(one_step(lambda ctx, config, inputs: returned), "r")
    assert Store(workspace).entries() == []


def test_scratch_survives_failure_and_goes_after_success(workspace: Workspace) -> None:
    seen: list[bool] = []

    def second_time_lucky(ctx: Any, config: Any, inputs: Any) -> Any:
        marker = ctx.scratch / "marker"
        seen.append(marker.exists())
        marker.write_text("x")
        if len(seen) == 1:
            raise RuntimeError("first time")
        return {"x": JsonOutput(1)}

    graph = one_step(second_time_lucky)
    with pytest.raises(StepFailed):
        Runner(workspace, no_executor).run(graph, "r")
    Runner(workspace, no_executor).run(graph, "r")
    assert seen == [False, True]
    assert list(workspace.scratch.iterdir()) == []


def test_provenance_says_who_what_and_how_it_ended(workspace: Workspace) -> None:
    observer = RecordingObserver()
    Runner(workspace, no_executor, [observer]).run(toy_graph(seed=7), "r")
    (attempt,) = attempts_at(workspace, "numbers", observer.of("step_started")[0]["key"])
    assert attempt["state"] == "done"
    assert attempt["seeds"] == {"seed": 7}
    assert attempt["facts"]["config"] == {"count": 4, "seed": 7}
    assert attempt["pid"] == os.getpid()
    assert attempt["ended"] >= attempt["started"]
    assert {"git", "recap", "python", "host", "user", "argv"} <= set(attempt)
    assert attempt["outputs"] == observer.of("step_done")[0]["outputs"]


def test_a_corrupt_result_is_quarantined_aloud_and_recomputed(workspace: Workspace) -> None:
    first = Runner(workspace, no_executor).run(toy_graph(), "r")
    damage(first.outputs["0/scale"]["sum"].path, "truncate")
    observer = RecordingObserver()
    again = Runner(workspace, no_executor, [observer]).run(toy_graph(), "r")
    assert again.executed == ["0/scale"]
    assert again.outputs == first.outputs
    (event,) = observer.of("step_quarantined")
    assert "sum.json: expected" in event["reason"]
    assert (Path(event["place"]) / "artifact" / "manifest.json").exists()


def test_a_run_name_that_is_a_path_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="run name"):
        Runner(workspace, no_executor).run(toy_graph(), "../escape")


def recorded_graph(*, seed: int, value: int = 1) -> Graph:
    registry: Registry[StepSpec] = Registry("none")

    def function(ctx: Any, config: Any, inputs: Mapping[str, Any]) -> Any:
        return {"x": JsonOutput(value)}

    step(name="s", version=1, config=NumbersConfig, outputs=("x",), recorded=True, registry=registry)(function)
    graph = Graph(steps=registry)
    graph.add("n", "s", NumbersConfig(seed=seed))
    return graph


def test_a_recorded_step_is_never_run_again_implicitly(workspace: Workspace) -> None:
    runner = Runner(workspace, no_executor)
    assert runner.run(recorded_graph(seed=1), "r").executed == ["n"]
    assert runner.run(recorded_graph(seed=1), "r").cached == ["n"]
    with pytest.raises(ConfigError, match="settings, inputs or versions differ") as raised:
        runner.run(recorded_graph(seed=2), "r")
    assert "recap explain --name r " in raised.value.hint
    (plan,) = explain(workspace, recorded_graph(seed=2), "r")
    assert (plan.state, plan.why) == ("refused", "recorded, not run again: config seed: 1 -> 2")
    # Refusing is not forgetting: the old settings still find the old recording, also after a graph without the node.
    assert runner.run(recorded_graph(seed=1), "r").cached == ["n"]
    runner.run(toy_graph(), "r")
    with pytest.raises(ConfigError, match="never run again"):
        runner.run(recorded_graph(seed=2), "r")
    assert runner.run(recorded_graph(seed=2), "other").executed == ["n"]


def test_two_runs_never_share_a_recording(workspace: Workspace) -> None:
    runner = Runner(workspace, no_executor)
    runner.run(recorded_graph(seed=1, value=1), "monday")
    tuesday = runner.run(recorded_graph(seed=1, value=2), "tuesday")
    assert tuesday.outputs["n"]["x"].json() == 2


def test_a_lost_recording_is_refused_not_replaced(workspace: Workspace) -> None:
    runner = Runner(workspace, no_executor)
    first = runner.run(recorded_graph(seed=1), "r")
    damage(first.outputs["n"]["x"].path, "delete")
    with pytest.raises(ConfigError, match="gone or quarantined"):
        runner.run(recorded_graph(seed=1), "r")
    assert len(list(workspace.quarantine.iterdir())) == 1


def test_a_recorded_step_that_failed_may_be_tried_again_with_other_settings(workspace: Workspace) -> None:
    def failing(ctx: Any, config: Any, inputs: Any) -> Any:
        if config.seed == 1:
            raise RuntimeError("robot off")
        return {"x": JsonOutput(1)}

    registry: Registry[StepSpec] = Registry("none")
    step(name="s", version=1, config=NumbersConfig, outputs=("x",), recorded=True, registry=registry)(failing)
    for seed in (1, 2):
        graph = Graph(steps=registry)
        graph.add("n", "s", NumbersConfig(seed=seed))
        if seed == 1:
            with pytest.raises(StepFailed):
                Runner(workspace, no_executor).run(graph, "r")
        else:
            assert Runner(workspace, no_executor).run(graph, "r").executed == ["n"]


def test_status_of_an_unknown_run_names_the_nearest(workspace: Workspace) -> None:
    Runner(workspace, no_executor).run(toy_graph(), "nightly")
    with pytest.raises(UnknownName, match="did you mean 'nightly'"):
        run_status(workspace, "nightli")


def test_status_of_hundreds_of_nodes_is_quick(workspace: Workspace) -> None:
    registry: Registry[StepSpec] = Registry("none")
    step(name="s", version=1, config=NumbersConfig, outputs=("x",), registry=registry)(
        lambda ctx, config, inputs: {"x": JsonOutput(config.seed)}
    )
    graph = Graph(steps=registry)
    for index in range(300):
        graph.add(f"{index}/s", "s", NumbersConfig(seed=index % 3))
    Runner(workspace, no_executor).run(graph, "r")
    begin = time.perf_counter()
    status = run_status(workspace, "r")
    assert time.perf_counter() - begin < 0.1
    assert [node.state for node in status.nodes] == ["done"] * 3 + ["cached"] * 297
