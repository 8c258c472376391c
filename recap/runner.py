"""Runs a graph: looks each step up, executes what is missing, commits, records, tells observers.

Owns the order of those things. It must not know where work happens (the executor), what steps mean, or who listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recap import faults
from recap.code import Code
from recap.contents import Contents
from recap.errors import ArtifactCorrupt, ConfigError, RecapError, StepFailed, Waiting
from recap.files import remove_tree
from recap.graph import CONSTANT_OUTPUT, Graph, Node
from recap.hashing import canonical_json, sha256_hex
from recap.provenance import RunRecord, StepAttempt, committed_key
from recap.step import Artifact, DirOutput, JsonOutput, StepContext, key_facts, key_of
from recap.store import Store
from recap.workspace import Workspace

if TYPE_CHECKING:
    # protocols imports numpy (0.1 s), which a run of cached steps never needs.
    from recap.protocols import Executor, Journal, RunObserver


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """What a run did."""

    run_name: str
    executed: list[str] = field(default_factory=list)
    """Nodes whose step ran, in order."""
    cached: list[str] = field(default_factory=list)
    """Nodes whose result was there already."""
    outputs: dict[str, dict[str, Artifact]] = field(default_factory=dict)
    """{node: {output: artifact}}"""
    steps: dict[str, str] = field(default_factory=dict)
    """{node: its step}"""

    def of(self, step: str) -> dict[str, dict[str, Artifact]]:
        """{node: {output: artifact}} of the nodes that run `step`, in order."""
        return {node: made for node, made in self.outputs.items() if self.steps[node] == step}


class SilentJournal:
    """A journal that nobody reads."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """Drops it."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Drops them."""


class Runner:
    """Runs graphs in one workspace.

    Args:
        workspace: where results go.
        executor_factory: makes the executor; called once, and only when a step asks for it.
        observers: told of every event; an error in one ends the run.
        journal_factory: makes the journal of a node; None drops what steps say.
        resume_command: how a person re-issues the run; `{run_name}` is filled in.
    """

    def __init__(
        self,
        workspace: Workspace,
        executor_factory: Callable[[], Executor],
        observers: Iterable[RunObserver] = (),
        *,
        journal_factory: Callable[[str], Journal] | None = None,
        resume_command: str = "recap resume {run_name}",
    ) -> None:
        self._workspace = workspace
        self._store = Store(workspace)
        self._contents = Contents(workspace)
        self._code = Code(workspace)
        self._executor_factory = executor_factory
        self._executor: Executor | None = None
        self._observers = tuple(observers)
        self._journal_factory = journal_factory
        self._resume_command = resume_command

    def run(self, graph: Graph, run_name: str) -> RunSummary:
        """Brings every node of the graph up to date.

        Raises:
            StepFailed: a step raised; chained, with the command that re-issues the run.
            Waiting: a step needs a person; passed through as it is.
            ConfigError: a recorded step would have to run again.
            WorkspaceLocked: another run writes this workspace.
            KeyboardInterrupt: passed through after the attempt was recorded.
        """
        nodes = graph.order()
        self._workspace.run_dir(run_name)
        summary = RunSummary(run_name=run_name)
        with self._workspace.lock(f"run {run_name}"):
            started = time.monotonic()
            record = RunRecord(self._workspace, run_name, nodes)
            try:
                self._emit("run_started", run=run_name, nodes=[node.name for node in nodes if not node.is_constant])
                for name in self._store.recover():
                    self._emit("draft_undone", entry=name)
                for node in nodes:
                    self._bring(node, record, summary)
            except BaseException as error:
                try:
                    self._finish(record, _state_after(error), time.monotonic() - started, summary)
                except Exception as second:
                    # What stopped the run is the thing to see; a full disk or a tracker that is down comes after it.
                    error.add_note(f"the end of the run could not be recorded either: {second!r}")
                raise
            else:
                self._finish(record, "done", time.monotonic() - started, summary)
            finally:
                self._close_executor()
        return summary

    def _finish(self, record: RunRecord, state: str, seconds: float, summary: RunSummary) -> None:
        record.end(state)
        counts = {"executed": len(summary.executed), "cached": len(summary.cached)}
        self._emit("run_done", run=summary.run_name, state=state, seconds=seconds, **counts)

    def _close_executor(self) -> None:
        if self._executor is not None:
            executor, self._executor = self._executor, None
            executor.close()

    def _bring(self, node: Node, record: RunRecord, summary: RunSummary) -> None:
        """Adds the outputs of one node to the summary, from the store or by running its step."""
        summary.steps[node.name] = node.spec.name
        if node.is_constant:
            summary.outputs[node.name] = self._constant(node, record)
            return
        inputs = {name: summary.outputs[ref.node][ref.output] for name, ref in node.inputs.items()}
        identities = {name: artifact.identity for name, artifact in inputs.items()}
        facts = key_facts(
            node.spec,
            node.config,
            identities,
            facts=node.facts,
            contents=self._contents.of(node.config, node.facts),
            code=self._code.unaccepted(node.spec, node.config, node.facts),
            run_name=summary.run_name,
            node=node.name,
        )
        key = key_of(facts)
        stored = self._stored(node, key)
        if node.spec.is_recorded(node.config):
            self._refuse_rerun(node, key, stored, record.nodes[node.name], summary.run_name)
        if stored is None:
            stored = self._execute(node, facts, key, inputs, record, summary.run_name)
            summary.executed.append(node.name)
        else:
            outputs = {name: artifact.identity for name, artifact in stored.items()}
            record.set(node.name, flush=False, state="cached", key=key, committed_key=key, outputs=outputs)
            self._emit("step_cached", node=node.name, step=node.spec.name, key=key, outputs=outputs)
            summary.cached.append(node.name)
        summary.outputs[node.name] = stored

    def _stored(self, node: Node, key: str) -> dict[str, Artifact] | None:
        """What the store holds under a key; a corrupt result is quarantined, said aloud and counts as absent."""
        try:
            return self._store.load_usable(node.spec, key)
        except ArtifactCorrupt as error:
            place = self._store.quarantine(node.spec.name, key, error.message)
            self._emit(
                "step_quarantined", node=node.name, step=node.spec.name, key=key, reason=error.message, place=str(place)
            )
            return None

    def _constant(self, node: Node, record: RunRecord) -> dict[str, Artifact]:
        facts = {**key_facts(node.spec, None, {}), "value": sha256_hex(canonical_json(node.value))}
        key = key_of(facts)
        stored = self._stored(node, key)
        if stored is None:
            draft = self._store.begin(node.spec.name, key)
            stored = self._store.commit(draft, {CONSTANT_OUTPUT: JsonOutput(node.value)}, facts)
        outputs = {name: artifact.identity for name, artifact in stored.items()}
        record.set(node.name, flush=False, state="cached", key=key, committed_key=key, outputs=outputs)
        return stored

    def _refuse_rerun(
        self, node: Node, key: str, stored: dict[str, Artifact] | None, entry: Mapping[str, Any], run_name: str
    ) -> None:
        """A recorded step that was committed for this run is used as it is or not at all."""
        committed = committed_key(self._store, node, entry)
        if committed is None or stored is not None:
            return
        if committed == key:
            what = "its committed result is gone or quarantined"
        else:
            what = "its settings, inputs or versions differ from the committed result's"
        raise ConfigError(
            f"{node.name} ({node.spec.name}) records the outside world and is never run again implicitly; {what}",
            hint=f"recap explain --name {run_name}   (what changed), or record anew: recap run ... --name OTHER_NAME",
        )

    def _execute(
        self,
        node: Node,
        facts: dict[str, Any],
        key: str,
        inputs: dict[str, Artifact],
        record: RunRecord,
        run_name: str,
    ) -> dict[str, Artifact]:
        spec, name = node.spec, node.name
        attempt = StepAttempt(self._workspace, node=name, run_name=run_name, facts=facts, key=key)
        record.set(name, flush=False, state="running", key=key, started=time.time())
        record.flush(durable=spec.is_recorded(node.config))
        self._emit("step_started", node=name, step=spec.name, key=key, config=facts["config"], inputs=facts["inputs"])
        started = time.monotonic()
        draft = self._store.begin(spec.name, key)
        faults.enter(name)
        try:
            faults.point("runner.before_step")
            derived = () if spec.facts is None else (node.facts,)
            returned = spec.function(self._context(node, key, draft.out, run_name), node.config, *derived, inputs)
            stored = self._store.commit(draft, _checked(node, returned), facts)
        except BaseException as error:
            self._store.abandon(draft)
            self._failed(node, key, error, attempt, record, time.monotonic() - started)
            if isinstance(error, Waiting) or not isinstance(error, Exception):
                raise
            raise self._step_failed(node, key, error, run_name) from error
        faults.point("runner.after_step")
        faults.enter("")
        seconds = time.monotonic() - started
        outputs = {output: artifact.identity for output, artifact in stored.items()}
        attempt.end("done", outputs=outputs)
        # What follows flushes soon enough: the store, not the record, says what is done.
        recorded = spec.is_recorded(node.config)
        record.set(name, flush=recorded, state="done", committed_key=key, outputs=outputs, seconds=seconds)
        remove_tree(self._store.scratch_dir(spec.name, key))
        self._emit("step_done", node=name, step=spec.name, key=key, seconds=seconds, outputs=outputs)
        return stored

    def _context(self, node: Node, key: str, out: Any, run_name: str) -> StepContext:
        return StepContext(
            node=node.name,
            key=key,
            run_name=run_name,
            scratch_dir=self._store.scratch_dir(node.spec.name, key),
            out=out,
            workspace=self._workspace,
            journal=SilentJournal() if self._journal_factory is None else self._journal_factory(node.name),
            executor_factory=self._shared_executor,
        )

    def _shared_executor(self) -> Executor:
        if self._executor is None:
            self._executor = self._executor_factory()
        return self._executor

    def _failed(
        self, node: Node, key: str, error: BaseException, attempt: StepAttempt, record: RunRecord, seconds: float
    ) -> None:
        state = _state_after(error)
        text = f"{type(error).__name__}: {error}"
        try:
            attempt.end(state, error=error)
            record.set(node.name, flush=True, state=state, seconds=seconds, error=text)
        except OSError as second:
            # A full disk fails the record as it failed the step; the step's own error is the one to see.
            error.add_note(f"the attempt could not be recorded either: {second}")
        self._emit(
            "step_failed", node=node.name, step=node.spec.name, key=key, seconds=seconds, state=state, error=text
        )

    def _step_failed(self, node: Node, key: str, error: Exception, run_name: str) -> StepFailed:
        # Not str.format: a folder or setting in it may hold braces of its own.
        again = self._resume_command.replace("{run_name}", run_name)
        own = error.hint if isinstance(error, RecapError) else ""
        message = error.message if isinstance(error, RecapError) else f"{type(error).__name__}: {error}"
        return StepFailed(
            f"{node.name} (step {node.spec.name}, key {key[:16]}) failed: {message}",
            hint=f"{own}; then {again}" if own else again,
        )

    def _emit(self, kind: str, **fields: Any) -> None:
        event = {"kind": kind, "t": time.time(), **fields}
        for observer in self._observers:
            observer.on_event(event)


def _state_after(error: BaseException) -> str:
    if isinstance(error, Waiting):
        return "waiting"
    return "failed" if isinstance(error, Exception) else "interrupted"


def _checked(node: Node, returned: Any) -> dict[str, JsonOutput | DirOutput]:
    """What a step returned, in the declared order, if it is what the step declares."""
    if not isinstance(returned, Mapping) or set(returned) != set(node.spec.outputs):
        got = sorted(returned) if isinstance(returned, Mapping) else type(returned).__name__
        raise ConfigError(f"step '{node.spec.name}' returned {got}: expected {sorted(node.spec.outputs)}")
    for name, output in returned.items():
        if not isinstance(output, (JsonOutput, DirOutput)):
            got = type(output).__name__
            raise ConfigError(f"output '{name}' of step '{node.spec.name}' is {got}: expected JsonOutput or DirOutput")
    return {name: returned[name] for name in node.spec.outputs}
