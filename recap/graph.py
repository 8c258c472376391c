"""Which steps a run consists of, and which output feeds which input.

Owns the shape only: no key, no file, no execution.

Example:
    >>> graph = Graph()
    >>> demos = graph.add("0/collect", "collect", CollectConfig(task="shirt_folding"))  # doctest: +SKIP
    >>> graph.add("0/policy", "policy", PolicyConfig(), demos=demos["demos"])  # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recap.errors import GraphError, UnknownName
from recap.hashing import plain_json
from recap.registry import Registry
from recap.step import STEPS, StepContext, StepSpec

_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
CONSTANT_OUTPUT = "value"


@dataclass(frozen=True, slots=True)
class OutputRef:
    """One output of one node."""

    node: str
    output: str

    def __str__(self) -> str:
        return f"{self.node}:{self.output}"


@dataclass(frozen=True, slots=True)
class NodeHandle:
    """A node just added; `handle["policy"]` refers to its output of that name."""

    name: str
    spec: StepSpec

    def __getitem__(self, output: str) -> OutputRef:
        if output not in self.spec.outputs:
            raise UnknownName.among(f"output of step '{self.spec.name}'", output, self.spec.outputs)
        return OutputRef(self.name, output)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A step with its settings and where its inputs come from."""

    name: str
    spec: StepSpec
    config: Any
    inputs: Mapping[str, OutputRef]
    value: Any = None
    """Of a constant node: its JSON value."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """What the step depends on besides config and inputs, as JSON; part of its key."""

    @property
    def is_constant(self) -> bool:
        """True for a value given from outside, which nothing computes."""
        return self.spec is CONSTANT


def _no_function(ctx: StepContext, config: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    raise GraphError("a constant is committed by the runner and never executed")


CONSTANT = StepSpec(
    name="constant",
    version=1,
    config=None,
    inputs=(),
    optional=(),
    outputs=(CONSTANT_OUTPUT,),
    libraries=(),
    code=(),
    recorded=False,
    function=_no_function,
)


class Graph:
    """A directed graph of steps without cycles, in the order they were added.

    Args:
        steps: registry of the steps.
        given: {name: JSON} that every step may depend on besides its settings and inputs, such as a task described in
            a file; each is part of every key.
    """

    def __init__(self, *, steps: Registry[StepSpec] = STEPS, given: Mapping[str, Any] | None = None) -> None:
        self._steps = steps
        self._given: Mapping[str, Any] = plain_json(dict(given or {}), where="what a graph is given")
        self._nodes: dict[str, Node] = {}

    def add(self, name: str, step_name: str, config: Any, /, **inputs: OutputRef) -> NodeHandle:
        """Adds a node that runs `step_name` with `config`; each input is an output of another node.

        Raises:
            GraphError: the name is taken or malformed, the config is of another type, inputs are missing or unknown.
            UnknownName: no such step.
        """
        spec = self._steps.get(step_name)
        config_name = "None" if spec.config is None else spec.config.__name__
        if config is not None if spec.config is None else not isinstance(config, spec.config):
            raise GraphError(f"node '{name}': step '{step_name}' takes {config_name}, got {type(config).__name__}")
        missing = [needed for needed in spec.inputs if needed not in inputs]
        if missing:
            raise GraphError(f"node '{name}': step '{step_name}' needs the input {', '.join(missing)}")
        known = spec.inputs + spec.optional
        for given, ref in inputs.items():
            if given not in known:
                problem = UnknownName.among(f"input of step '{step_name}'", given, known)
                raise GraphError(f"node '{name}': {problem.message}")
            if not isinstance(ref, OutputRef):
                raise GraphError(f"node '{name}', input {given}: expected handle['output'], got {type(ref).__name__}")
        return self._keep(Node(name=name, spec=spec, config=config, inputs=dict(inputs), given=self._given))

    def constant(self, name: str, value: Any) -> OutputRef:
        """Adds a JSON value from outside the graph, usable as an input.

        Raises:
            ConfigError: `value` is not plain JSON.
        """
        kept = plain_json(value, where=f"constant '{name}'")
        return self._keep(Node(name=name, spec=CONSTANT, config=None, inputs={}, value=kept))[CONSTANT_OUTPUT]

    def order(self) -> list[Node]:
        """Every node after those it needs; among free ones, in the order of adding.

        Raises:
            GraphError: an input refers to a node or output that is not there, or nodes wait for each other.
        """
        for node in self._nodes.values():
            for given, ref in node.inputs.items():
                if ref.node not in self._nodes:
                    raise GraphError(f"node '{node.name}', input {given}: no node '{ref.node}' in the graph")
                offered = self._nodes[ref.node].spec.outputs
                if ref.output not in offered:
                    raise GraphError(f"node '{node.name}', input {given}: {ref} is not one of {', '.join(offered)}")
        ordered: dict[str, Node] = {}
        waiting = dict(self._nodes)
        while waiting:
            free = [node for node in waiting.values() if all(ref.node in ordered for ref in node.inputs.values())]
            if not free:
                raise GraphError(f"these nodes wait for each other: {', '.join(waiting)}")
            for node in free:
                ordered[node.name] = node
                del waiting[node.name]
        return list(ordered.values())

    def _keep(self, node: Node) -> NodeHandle:
        if not _NODE_NAME.fullmatch(node.name):
            raise GraphError(f"node name '{node.name}': expected letters, digits, . _ - in parts divided by /")
        if node.name in self._nodes:
            raise GraphError(f"two nodes named '{node.name}'")
        self._nodes[node.name] = node
        return NodeHandle(node.name, node.spec)
