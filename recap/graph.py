"""Which steps a run consists of, and which output feeds which input.

Owns the shape only: no key, no file, no execution.

Example:
    >>> graph = Graph()
    >>> numbers = graph.add(NodeName(0, "numbers"), "numbers", NumbersConfig())  # doctest: +SKIP
    >>> graph.add(NodeName(0, "scale"), "scale", ScaleConfig(), numbers=numbers["numbers"])  # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recap.errors import GraphError, UnknownName
from recap.hashing import plain_json
from recap.registry import Registry
from recap.step import STEPS, StepContext, StepSpec

_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
CONSTANT_OUTPUT = "value"


@dataclass(frozen=True, slots=True)
class NodeName:
    """What a node is called: iteration, subject (the task or model that its stage works on alone), stage.

    As text "1/SUBJECT/stage", or "1/stage" of one that works on all.
    """

    iteration: int
    stage: str
    subject: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (str(self.iteration), self.subject, self.stage) if part)

    @classmethod
    def parse(cls, name: str) -> NodeName:
        """The parts of a name as it stands in records, journals and on the command line.

        Raises:
            GraphError: it is not the name of a node.

        Example:
            >>> NodeName.parse("1/box_assembly/record")
            NodeName(iteration=1, stage='record', subject='box_assembly')
        """
        first, _, rest = name.partition("/")
        subject, _, stage = rest.rpartition("/")
        if not (first.isdecimal() and stage) or not _NODE_NAME.fullmatch(name):
            raise GraphError(f"node name '{name}': expected ITERATION/STAGE or ITERATION/SUBJECT/STAGE")
        return cls(int(first), stage, subject)


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
    """A step with its settings, what the graph derived for it, and where its inputs come from."""

    name: str
    spec: StepSpec
    config: Any
    facts: Any = None
    inputs: Mapping[str, OutputRef]
    value: Any = None
    """Of a constant node: its JSON value."""

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
    facts=None,
    inputs=(),
    optional=(),
    several=(),
    outputs=(CONSTANT_OUTPUT,),
    libraries=(),
    recorded=False,
    function=_no_function,
)


class Graph:
    """A directed graph of steps without cycles, in the order they were added."""

    def __init__(self, *, steps: Registry[StepSpec] = STEPS) -> None:
        self._steps = steps
        self._nodes: dict[str, Node] = {}

    def add(
        self,
        name: str | NodeName,
        step_name: str,
        config: Any,
        facts: Any = None,
        /,
        **inputs: OutputRef | Mapping[str, OutputRef],
    ) -> NodeHandle:
        """Adds a node that runs `step_name`.

        Args:
            name: of the node; one of a kind.
            step_name: as registered.
            config: settings, of the step's class.
            facts: what the graph derives for it, of the step's class.
            inputs: each an output of another node, or for those that are several {name: output}.

        Raises:
            GraphError: the name is taken or malformed, settings or facts are of another type, inputs are missing or
                unknown.
            UnknownName: no such step.
        """
        spec, name = self._steps.get(step_name), str(name)
        for kind, given, wanted in (("settings", config, spec.config), ("facts", facts, spec.facts)):
            if given is not None if wanted is None else not isinstance(given, wanted):
                expected = getattr(wanted, "__name__", str(wanted))
                raise GraphError(
                    f"node '{name}': step '{step_name}' takes {kind} of {expected}, got {type(given).__name__}"
                )
        missing = [needed for needed in spec.inputs if needed not in inputs]
        if missing:
            raise GraphError(f"node '{name}': step '{step_name}' needs the input {', '.join(missing)}")
        known = spec.inputs + spec.optional + spec.several
        flat: dict[str, Any] = {}
        for given, ref in inputs.items():
            if given not in known:
                problem = UnknownName.among(f"input of step '{step_name}'", given, known)
                raise GraphError(f"node '{name}': {problem.message}")
            if given in spec.several:
                if not isinstance(ref, Mapping):
                    raise GraphError(
                        f"node '{name}', input {given}: expected {{name: handle['output']}}, got {type(ref).__name__}"
                    )
                flat |= {f"{given}/{one}": inner for one, inner in ref.items()}
            else:
                flat[given] = ref
        for given, ref in flat.items():
            if not isinstance(ref, OutputRef):
                raise GraphError(f"node '{name}', input {given}: expected handle['output'], got {type(ref).__name__}")
        return self._keep(Node(name=name, spec=spec, config=config, facts=facts, inputs=flat))

    def constant(self, name: str | NodeName, value: Any) -> OutputRef:
        """Adds a JSON value from outside the graph, usable as an input.

        Raises:
            ConfigError: `value` is not plain JSON.
        """
        kept = plain_json(value, where=f"constant '{name}'")
        return self._keep(Node(name=str(name), spec=CONSTANT, config=None, inputs={}, value=kept))[CONSTANT_OUTPUT]

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
            # One at a time: whoever adds a node early wants it early, however many others are free beside it.
            free = (n for n in waiting.values() if all(ref.node in ordered for ref in n.inputs.values()))
            first = next(free, None)
            if first is None:
                raise GraphError(f"these nodes wait for each other: {', '.join(waiting)}")
            ordered[first.name] = waiting.pop(first.name)
        return list(ordered.values())

    def up_to(self, names: Iterable[str]) -> Graph:
        """The part of the graph that some nodes need: themselves and all before them.

        Raises:
            UnknownName: no such node.
        """
        wanted: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in self._nodes:
                raise UnknownName.among("node", name, self._nodes)
            if name not in wanted:
                wanted.add(name)
                waiting += [ref.node for ref in self._nodes[name].inputs.values()]
        part = Graph(steps=self._steps)
        part._nodes = {name: node for name, node in self._nodes.items() if name in wanted}
        return part

    def _keep(self, node: Node) -> NodeHandle:
        if not _NODE_NAME.fullmatch(node.name):
            raise GraphError(f"node name '{node.name}': expected letters, digits, . _ - in parts divided by /")
        if node.name in self._nodes:
            raise GraphError(f"two nodes named '{node.name}'")
        self._nodes[node.name] = node
        return NodeHandle(node.name, node.spec)
