"""Builds the iterations of a report from the outputs of a run's steps: what each turn recorded and measured.

Owns which output of which step belongs to which part of an iteration. Knows no page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.episode_set import EpisodeSet
from data.frame_table import FrameTable
from pipelines.report import parse
from pipelines.report.figures import Iteration, Recording
from pipelines.report.footage import Filmed
from pipelines.report.model import Node
from pipelines.report.parse import Outputs
from pipelines.report.tables import Origin, advantage_facts
from pipelines.steps.evaluate.outputs import Evaluation
from recap.errors import ArtifactCorrupt, ConfigError
from recap.graph import NodeName
from recap.journal import read_journal
from recap.step import Artifact
from recap.workspace import Workspace

Curves = Mapping[str, Mapping[str, tuple[tuple[int, float], ...]]]
"""{node: {metric: (step, value) pairs}}"""

_PRETRAINING = "pretrain"
_LOSS = "loss"


def loss_curves(workspace: Workspace, run_name: str) -> Curves:
    """The losses of each node, of its latest settings only; a gradient step repeated after a kill counts once."""
    records, _ = read_journal(workspace.run_dir(run_name) / "journal.jsonl")
    keys: dict[str, str] = {}
    curves: dict[str, dict[str, dict[int, float]]] = {}
    for record in records:
        node = record["node"]
        if record["kind"] == "step_started" and keys.get(node) != record["key"]:
            keys[node], curves[node] = record["key"], {}
        elif record["kind"] == "metrics":
            for name, value in record["values"].items():
                if name.endswith(_LOSS):
                    curves.setdefault(node, {}).setdefault(name, {})[record["step"]] = float(value)
    return {
        node: {name: tuple(sorted(curve.items())) for name, curve in named.items()} for node, named in curves.items()
    }


def build(
    nodes: Sequence[Node], outputs: Mapping[str, Outputs], curves: Curves, *, task: str, several: bool = False
) -> tuple[tuple[Iteration, ...], list[str]]:
    """The iterations, and a sentence for each part that its outputs do not allow.

    Args:
        nodes: of the run; of several tasks only those that concern `task`.
        outputs: of the nodes.
        curves: losses of the nodes.
        task: whose figures are told.
        several: whether the run learns other tasks as well.

    Raises:
        ConfigError: an output lacks a field that the report reads.
    """
    parts: dict[int, dict[str, Any]] = {}
    missing: list[str] = []
    for node, index, made in _of_iterations(nodes, outputs):
        part = parts.setdefault(index, {})
        if not made:
            continue
        curve = curves.get(node.name, {})
        match node.step:
            case "record":
                part["recordings"] = (*part.get("recordings", ()), *parse.recordings(made["summary"]))
            case "annotate":
                part["labels"] = parse.labels(made)
            case "judge":
                part["value"] = parse.value_facts(made["value_health"], task=task)
            case "value_train":
                # The first is the one that labels.
                part.setdefault(
                    "value_training", parse.value_training(made["training"], seconds=node.seconds, loss=curve)
                )
            case "policy":
                kind = "pretraining" if NodeName.parse(node.name).stage == _PRETRAINING else "training"
                part[kind] = parse.training(made["training"], seconds=node.seconds, loss=curve.get(_LOSS, ()))
            case "checkpoint_selection":
                part["selection"] = parse.selection(made["selection"])
            case "gate":
                part["gate"] = parse.gate(made["decision"])
            case "open_loop_eval":
                part["replay"] = parse.open_loop(made["open_loop"])
            case "evaluate":
                part["evaluation"] = parse.evaluation(made)
    missing += _differences(parts)
    origins = _origins({index: part.get("recordings") or () for index, part in parts.items()})
    for node, index, made in _of_iterations(nodes, outputs):
        if node.step != "advantage" or not made:
            continue
        table = read_table(made["labels"], node.name, missing)
        if table is not None:
            health = made["health"].json()
            parts[index]["advantage"] = advantage_facts(table, health, task=task, origins=origins, several=several)
    return tuple(Iteration(index=index, **parts[index]) for index in sorted(parts)), missing


def read_table(artifact: Artifact, node: str, missing: list[str]) -> FrameTable | None:
    """The table of an output; None, and a sentence in `missing`, if it cannot be read."""
    try:
        return FrameTable.read(artifact.path)
    except ArtifactCorrupt as error:
        missing.append(f"{node}: its {artifact.name} cannot be read ({error.message})")
        return None


def filmed(outputs: Mapping[str, Outputs]) -> list[Filmed]:
    """The evaluation attempts that were kept as episodes."""
    return [
        Filmed(
            iteration=NodeName.parse(node).iteration,
            start_seed=film.start_seed,
            episode_id=film.episode_id,
            outcome=film.outcome,
        )
        for node, made in outputs.items()
        if "evaluation" in made
        for film in made["evaluation"].read(Evaluation).films
    ]


def episode_ids(iterations: Sequence[Iteration], outputs: Mapping[str, Outputs], films: Sequence[Filmed]) -> set[str]:
    """Every episode that the run's outputs refer to."""
    ids = {film.episode_id for film in films}
    ids |= {recording.episode_id for iteration in iterations for recording in iteration.recordings or ()}
    for made in outputs.values():
        if "episodes" in made:
            ids |= set(EpisodeSet.from_json(made["episodes"].json()))
    return ids


def _of_iterations(nodes: Sequence[Node], outputs: Mapping[str, Outputs]) -> Iterator[tuple[Node, int, Outputs]]:
    for node in nodes:
        yield node, NodeName.parse(node.name).iteration, outputs.get(node.name, {})


def _differences(parts: Mapping[int, dict[str, Any]]) -> list[str]:
    """Adds to each later iteration its difference to the first evaluated one; a sentence for each that has none."""
    evaluated = [index for index in sorted(parts) if "evaluation" in parts[index]]
    missing: list[str] = []
    for index in evaluated[1:]:
        first = parts[evaluated[0]]["evaluation"]
        try:
            parts[index]["difference"] = parse.difference(parts[index]["evaluation"], first, since=evaluated[0])
        except ConfigError as error:
            missing.append(f"difference of iteration {index} to iteration {evaluated[0]}: {error.message}")
    return missing


def _origins(recordings: Mapping[int, Sequence[Recording]]) -> dict[str, Origin]:
    return {r.episode_id: (r.source.value, index) for index, made in sorted(recordings.items()) for r in made}
