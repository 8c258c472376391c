"""annotate: what a person, an importer or the task detector says of every episode.

Owns the order of the sources and what happens when labels are missing; the labels themselves belong to
`data.annotation`. Answers live outside the artifact store, so a committed result is checked against them: an answer
that changed makes the step run again, and one that came out the same leaves everything after it cached.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.steps.annotate.outputs import Answers
from recap.config import setting, validate
from recap.errors import WaitingForLabels
from recap.step import Artifact, JsonOutput, StepContext, step
from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotateConfig:
    """Settings of one annotation."""

    detector: bool = setting(True, help="use the simulation's task detector where no person has answered")
    unlabelled: str = setting(
        "stop", choices=("stop", "skip"), help="stop and wait for labels, or leave episodes without one out"
    )

    def __post_init__(self) -> None:
        validate(self)


def _labels(workspace: Workspace) -> Path:
    return workspace.root / "labels"


def _changed_answers(workspace: Workspace, outputs: Mapping[str, Artifact]) -> str:
    """Why a committed annotation no longer holds: what people say now differs from what they said then."""
    then = outputs["answers"].read(Answers).given
    committed = outputs["annotations"].json()
    episodes = {*committed["annotations"], *committed["skipped"]}
    now = _given(workspace, episodes)
    changed = {episode for episode, answer in now.items() if then.get(episode) != answer}
    withdrawn = set(then) - set(now)
    if changed or withdrawn:
        return f"{len(changed)} answers are new or differ, {len(withdrawn)} were withdrawn since it was made"
    return ""


def _given(workspace: Workspace, episodes: Collection[str]) -> dict[str, Any]:
    """{episode id: answer as JSON} of what people and imports say of `episodes`, before anything completes it."""
    from data.annotation import LabelBook, annotation_to_json

    return {
        episode: annotation_to_json(annotation)
        for episode, annotation in LabelBook(_labels(workspace)).annotations().items()
        if episode in episodes
    }


@step(
    name="annotate",
    version=2,
    config=AnnotateConfig,
    inputs=("experience",),
    outputs=("annotations", "answers"),
    check=_changed_answers,
)
def annotate(ctx: StepContext, config: AnnotateConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Outputs the annotation of every episode, and what people and imports said.

    Raises:
        WaitingForLabels: episodes without a label, and `unlabelled` is "stop".
    """
    from data.annotation import (
        SOURCES,
        LabelBook,
        annotate_command,
        clear_waiting,
        gather_annotations,
        write_waiting,
    )
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore

    ids = EpisodeSet.from_json(inputs["experience"].json())
    book = LabelBook(_labels(ctx.workspace))
    sources = SOURCES if config.detector else tuple(source for source in SOURCES if source != "detector")
    # Before gathering: an answer that comes in between then makes the next run look again.
    given = _given(ctx.workspace, set(ids))
    found = gather_annotations(EpisodeStore(ctx.workspace.episodes), ids, sources=sources, label_book=book)
    ctx.journal.progress(len(found.by_id), len(ids), "episodes")
    run_dir = ctx.workspace.run_dir(ctx.run_name)
    if found.missing and config.unlabelled == "stop":
        write_waiting(run_dir, found.missing, node=ctx.node)
        raise WaitingForLabels(
            f"{ctx.node}: {len(found.missing)} of {len(ids)} episodes have no label",
            hint=f"{annotate_command(ctx.run_name, ctx.workspace.root)}   (or leave them out: --unlabelled skip)",
        )
    clear_waiting(run_dir)
    outcomes = [annotation.outcome.value for annotation in found.by_id.values()]
    ctx.journal.metrics(
        {
            "labelled": float(len(outcomes)),
            "skipped": float(len(found.missing)),
            **{outcome: float(outcomes.count(outcome)) for outcome in ("success", "failure", "aborted")},
        },
        step=0,
    )
    return {
        # Without where they came from: the same annotation from another source changes nothing downstream.
        "annotations": JsonOutput(replace(found, counts=None).to_json()),
        "answers": JsonOutput.of(Answers(given=given, sources=found.counts or {})),
    }
