"""Where the episodes of a comparison come from: the latest experience of a run, recorded folders, a LeRobotDataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.compare.entries import named_models
from pipelines.compare.request import Comparison
from pipelines.config import PRESETS, Models, RunConfig
from pipelines.facts import EnvConfig
from pipelines.invocation import DEFAULT_TASK, Invocation
from recap.errors import ConfigError
from recap.graph import Graph, NodeName, OutputRef
from recap.provenance import read_run
from recap.store import Store
from recap.workspace import Workspace

Say = Callable[[str], None]
_FINISHED = ("done", "cached")
_USUAL_PRESET = "sim"


@dataclass(frozen=True, kw_only=True, slots=True)
class Episodes:
    """What is compared on, and the settings that it is compared with."""

    config: RunConfig
    """Its values are the models that were named, the first of them as the one that labels."""
    iteration: int
    name: str
    """Of the comparison, unless it is given one."""
    told: str
    """What they are, in words."""
    attach: Callable[[Graph, RunConfig], tuple[OutputRef, OutputRef]]
    """Adds them to a graph; (experience, annotations)."""
    assumed: int = 0
    """Episodes that nothing is said of, counted as successes because they are demonstrations."""


def episodes_of(root: Path, asked: Comparison, say: Say) -> Episodes:
    """The episodes of a comparison; imports a LeRobotDataset into the workspace at `root`.

    Raises:
        ConfigError: the run has no annotated experience yet; recordings that cannot be read.
        UnknownName: no such run or task.
    """
    if asked.demos is None:
        return _of_run(root, asked)
    lerobot = (Path(asked.demos) / "meta" / "info.json").is_file()
    return _of_lerobot(root, asked, say) if lerobot else _of_folders(asked)


def _of_run(root: Path, asked: Comparison) -> Episodes:
    invocation = Invocation.load(root, asked.run)
    config, name = invocation.config(), invocation.name
    workspace = Workspace.open(root, create=False)
    record = read_run(workspace, name)
    nodes: Mapping[str, Any] = {} if record is None else record["nodes"]
    finished = [
        NodeName.parse(node).iteration
        for node, entry in nodes.items()
        if entry["step"] == "annotate" and entry["state"] in _FINISHED
    ]
    if not finished:
        raise ConfigError(
            f"run '{name}' has no annotated experience yet: values are learned from iteration 1 on",
            hint=f"recap resume {name}   (or recap compare --demos DIR)",
        )
    k = max(finished)
    annotate = nodes[str(NodeName(k, "annotate"))]
    maker, _, output = annotate["inputs"]["experience"].partition(":")
    store = Store(workspace)
    experience = _stored(store, name, maker, nodes[maker], output)
    annotations = _stored(store, name, str(NodeName(k, "annotate")), annotate, "annotations")

    def attach(graph: Graph, _: RunConfig) -> tuple[OutputRef, OutputRef]:
        # Given as values: a constant has the identity of its content, so keys are those of the run.
        return (
            graph.constant(NodeName(k, "experience"), experience),
            graph.constant(NodeName(k, "annotations"), annotations),
        )

    return Episodes(
        config=_with_values(config, named_models(config, invocation.preset, asked.values)),
        iteration=k,
        name=f"compare-{name}",
        told=f"all experience of run {name} up to iteration {k}",
        attach=attach,
    )


def _stored(store: Store, run: str, node: str, entry: Mapping[str, Any], output: str) -> Any:
    key = entry.get("committed_key") or entry["key"]
    found = store.load(entry["step"], key) if key else None
    if found is None:
        raise ConfigError(f"run '{run}': the result of {node} is gone", hint=f"recap resume {run}")
    return found[output].json()


def _of_folders(asked: Comparison) -> Episodes:
    from pipelines.offline import import_recorded
    from pipelines.wiring import join

    config = _recorded_config(asked, asked.task or DEFAULT_TASK)
    config = replace(
        config,
        demos_from=asked.demos or "",
        rollouts_from=asked.rollouts or "",
        iterations=1 if asked.rollouts else 0,
    )

    def attach(graph: Graph, config: RunConfig) -> tuple[OutputRef, OutputRef]:
        sets = {"demos": import_recorded(graph, config, 0)}
        if config.rollouts_from:
            sets["rollouts"] = import_recorded(graph, config, 1)
        experience = join(graph, 1, "experience", sets)
        annotate = graph.add(NodeName(1, "annotate"), "annotate", config.annotate, experience=experience)
        return experience, annotate["annotations"]

    told = " and ".join(Path(folder).name for folder in (asked.demos, asked.rollouts) if folder)
    return Episodes(
        config=config,
        iteration=1,
        name=f"compare-{config.tasks[0]}",
        told=f"episodes recorded in {told}",
        attach=attach,
    )


def _of_lerobot(root: Path, asked: Comparison, say: Say) -> Episodes:
    from data.annotation import LabelBook, gather_annotations
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from pipelines.datasets.importing import import_dataset
    from pipelines.datasets.request import ImportRequest
    from recap.types import Annotation, Outcome
    from value_model.models import VALUE_MODELS

    folder = Path(asked.demos or "")
    if asked.rollouts is not None:
        raise ConfigError(
            f"--demos {folder} is a LeRobotDataset: with rollouts, both are taken from episode stores",
            hint=f"recap data import {folder} --task NAME, then recap compare --demos runs --rollouts {asked.rollouts}",
        )
    # Before minutes of decoding.
    PRESETS.get(asked.preset or _USUAL_PRESET)
    for name in asked.values:
        VALUE_MODELS.get(name)
    task = asked.task or folder.name
    size = str(EnvConfig().image_size)
    found = import_dataset(root, ImportRequest(dataset=folder, task=task, image_size=size), say)
    workspace = Workspace.open(root)
    ids = EpisodeSet.of(found.ids.values())
    said = gather_annotations(EpisodeStore(workspace.episodes), ids.ids, label_book=LabelBook(root / "labels"))
    assumed = sorted(said.missing)
    if assumed:
        say(
            f"{len(assumed)} of {len(ids)} episodes of {folder.name} carry no outcome: as demonstrations they count as "
            "successes here (nothing is written to the labels; to say otherwise: "
            "recap data import DIR --task NAME --outcomes FILE)"
        )
    by_id = {**said.by_id, **{one: Annotation(episode_id=one, outcome=Outcome.SUCCESS) for one in assumed}}
    annotations = replace(said, by_id=dict(sorted(by_id.items())), missing=(), counts=None).to_json()

    def attach(graph: Graph, _: RunConfig) -> tuple[OutputRef, OutputRef]:
        return (
            graph.constant(NodeName(1, "experience"), ids.to_json()),
            graph.constant(NodeName(1, "annotations"), annotations),
        )

    return Episodes(
        config=_recorded_config(asked, task),
        iteration=1,
        name=f"compare-{task}",
        told=f"LeRobotDataset {_version(folder)} {folder.name}, pictures of {size} pixels",
        attach=attach,
        assumed=len(assumed),
    )


def _version(folder: Path) -> str:
    return str(json.loads((folder / "meta" / "info.json").read_text()).get("codebase_version", ""))


def _recorded_config(asked: Comparison, task: str) -> RunConfig:
    models = Models(value=asked.values[0], beside=asked.values[1:])
    config = PRESETS.get(asked.preset or _USUAL_PRESET)((task,), models)
    return _with_values(config, {name: config.values[name] for name in asked.values})


def _with_values(config: RunConfig, models: Mapping[str, Any]) -> RunConfig:
    return replace(config, labels=next(iter(models)), arms=(), values=models)
