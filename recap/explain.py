"""What a run would do, and why: which steps are cached, which would execute, and what changed since the last attempt.

Reads the workspace without its lock and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recap.code import Code
from recap.contents import Contents
from recap.errors import ArtifactCorrupt
from recap.graph import CONSTANT_OUTPUT, Graph, Node
from recap.hashing import canonical_json, sha256_hex
from recap.hub import NotFetched
from recap.provenance import committed_key, last_attempt, read_run
from recap.step import key_facts, key_of
from recap.store import Store
from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlan:
    """What would happen to one node."""

    node: str
    step: str
    state: Literal["cached", "run", "unknown", "refused"]
    """unknown: an input will be recomputed, only its new content tells; refused: recorded, and something changed."""
    why: str


def explain(workspace: Workspace, graph: Graph, run_name: str) -> list[NodePlan]:
    """The plan of every step of the graph, in order."""
    return list(_plans(workspace, graph, run_name))


def is_finished(workspace: Workspace, graph: Graph, run_name: str) -> bool:
    """Whether a run would execute no step; looks no further than the first that it would."""
    return all(plan.state == "cached" for plan in _plans(workspace, graph, run_name))


def _plans(workspace: Workspace, graph: Graph, run_name: str) -> Iterator[NodePlan]:
    store = Store(workspace)
    record = read_run(workspace, run_name)
    committed = {} if record is None else {**record["retired"], **record["nodes"]}
    known: dict[str, dict[str, str]] = {}
    contents = Contents(workspace, remember=False)
    for node in graph.order():
        if node.is_constant:
            known[node.name] = {CONSTANT_OUTPUT: sha256_hex(canonical_json(node.value))}
            continue
        plan, identities = _plan(workspace, store, node, known, committed.get(node.name), run_name, contents)
        yield plan
        if identities is not None:
            known[node.name] = identities


def _plan(
    workspace: Workspace,
    store: Store,
    node: Node,
    known: Mapping[str, Mapping[str, str]],
    entry: Mapping[str, Any] | None,
    run_name: str,
    contents: Contents,
) -> tuple[NodePlan, dict[str, str] | None]:
    waits = sorted({ref.node for ref in node.inputs.values() if ref.node not in known})
    if waits:
        return _made(node, "unknown", f"input from {', '.join(waits)} will be recomputed"), None
    identities = {name: known[ref.node][ref.output] for name, ref in node.inputs.items()}
    try:
        pointed = contents.of(node.config, node.facts)
    except NotFetched as error:
        return _made(node, "run", error.message), None
    facts = key_facts(
        node.spec,
        node.config,
        identities,
        facts=node.facts,
        contents=pointed,
        code=Code(workspace, remember=False).unaccepted(node.spec, node.config, node.facts),
        run_name=run_name,
        node=node.name,
    )
    key = key_of(facts)
    corrupt = ""
    try:
        stored = store.load_usable(node.spec, key)
    except ArtifactCorrupt as error:
        stored, corrupt = None, error.message
    if stored is not None:
        found = {name: artifact.identity for name, artifact in stored.items()}
        return _made(node, "cached", "nothing changed"), found
    if corrupt:
        why = f"output is corrupt and will be quarantined: {corrupt}"
    else:
        why = _why(workspace, store, node, facts, key, run_name)
    refused = entry is not None and node.spec.is_recorded(node.config) and committed_key(store, node, entry) is not None
    return _made(node, "refused" if refused else "run", f"recorded, not run again: {why}" if refused else why), None


def _made(node: Node, state: Literal["cached", "run", "unknown", "refused"], why: str) -> NodePlan:
    return NodePlan(node=node.name, step=node.spec.name, state=state, why=why)


def _why(workspace: Workspace, store: Store, node: Node, facts: Mapping[str, Any], key: str, run_name: str) -> str:
    quarantined = store.quarantined(node.spec.name, key)
    last = last_attempt(workspace, run_name, node.name)
    if last is None:
        return f"output quarantined: {quarantined}" if quarantined else f"never ran in run '{run_name}'"
    changes = list(differences(last["facts"], facts, node))
    if changes:
        return "; ".join(changes)
    if last["state"] == "done":
        return f"output quarantined: {quarantined}" if quarantined else "its output is gone from the workspace"
    if last["state"] == "running":
        return "the last attempt was killed"
    text = last.get("error", {}).get("message", "").splitlines()
    return f"the last attempt ended {last['state']}" + (f": {text[0]}" if text else "")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], node: Node) -> Iterator[str]:
    """Each thing that two sets of key facts disagree on, in words."""
    if old["step"] != new["step"]:
        yield f"step {old['step']} -> {new['step']}"
        return
    if old["version"] != new["version"]:
        yield f"version of step {new['step']}: {old['version']} -> {new['version']}"
    before, after = dict(_leaves(old["config"])), dict(_leaves(new["config"]))
    for path in [*after, *(path for path in before if path not in after)]:
        if before.get(path, _ABSENT) != after.get(path, _ABSENT):
            yield f"config {path}: {before.get(path, _ABSENT)} -> {after.get(path, _ABSENT)}"
    for name, changed in _differing(old.get("contents"), new.get("contents")):
        yield f"content of {name} {changed}"
    for kind in ("facts", "context"):
        was, now = dict(_leaves(old.get(kind))), dict(_leaves(new.get(kind)))
        for name, _ in _differing(was, now):
            yield f"{name}: {was.get(name, _ABSENT)} -> {now.get(name, _ABSENT)}"
    if old.get("code") != new.get("code"):
        yield "its code (changed and not accepted: recap.code)"
    for name in sorted({*old["inputs"], *new["inputs"]}):
        if old["inputs"].get(name) != new["inputs"].get(name):
            source = f" (from {node.inputs[name]})" if name in node.inputs else ""
            how = "changed" if name in old["inputs"] and name in new["inputs"] else "added or removed"
            yield f"input {name} {how}{source}"
    for name in sorted({*old["libraries"], *new["libraries"]}):
        if old["libraries"].get(name) != new["libraries"].get(name):
            versions = [facts["libraries"].get(name, _ABSENT) for facts in (old, new)]
            yield f"library {name}: {versions[0]} -> {versions[1]}"
    if old.get("recorded") != new.get("recorded"):
        yield "recorded for another run or node"


_ABSENT = "(absent)"


def _differing(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """(name, "changed" or "added or removed") of what two mappings disagree on."""
    before, after = old or {}, new or {}
    for name in sorted({*before, *after}):
        if before.get(name, _ABSENT) != after.get(name, _ABSENT):
            yield name, "changed" if name in before and name in after else "added or removed"


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in (config or {}).items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
