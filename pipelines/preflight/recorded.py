"""What recorded episodes would be refused for in any step of an offline run, known from their headers and labels.

Part of `preflight`. Decodes no picture and writes nothing, not even into the index of the folder it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import RunConfig
from pipelines.offline import import_facts
from pipelines.steps.record.folder import ROLES, contents, open_recorded
from recap.errors import ConfigError
from recap.types import JUDGED, Outcome, Source

if TYPE_CHECKING:
    from data.episodes import EpisodeStore
    from data.index import EpisodeRow
    from recap.types import Annotation


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """One episode that the run would take over."""

    row: EpisodeRow
    store: EpisodeStore
    has_truth: bool
    outcome: Outcome | None
    """What is said of it as things stand; None: nothing."""

    @property
    def judged(self) -> bool:
        """It has a return."""
        return self.outcome in JUDGED


def check_recordings(config: RunConfig, root: Path) -> None:
    """Raises what recorded episodes would be refused for.

    Args:
        config: of an offline run.
        root: its workspace, which need not be there; what was said of the episodes in it counts.

    Raises:
        ConfigError: they do not fit the task, each other or a model, or cannot be labelled.
        Corrupt: a header, truth or label book is not what was written.
    """
    from data.tasks import TASKS
    from pipelines.preflight.models import check_models

    task = TASKS.get(config.tasks[0])
    found = {role: _look(config, root, role) for role in ROLES if getattr(config, f"{role}_from")}
    for seen in found.values():
        if all(one.outcome is Outcome.ABORTED for one in seen):
            raise ConfigError(f"all {len(seen)} attempts at {task.spec.id} were aborted: nothing to learn from")
    usable = {role: [one for one in seen if one.outcome is not Outcome.ABORTED] for role, seen in found.items()}
    told = sorted({one.row.instruction for seen in usable.values() for one in seen if one.row.instruction is not None})
    check_models(config, told=(task.spec.prompt, *told), prompts=(task.spec.prompt,))
    _check_pack(config, usable["demos"])
    if config.iterations:
        waits = config.annotate.unlabelled == "stop"
        # Those that a person has yet to judge will be among them.
        learned = {role: [one for one in seen if one.judged or waits] for role, seen in usable.items()}
        _check_learned(config, learned)


def _look(config: RunConfig, root: Path, role: str) -> list[_Seen]:
    """The episodes of one folder that fit the task, with what is said of each."""
    from data.annotation import LabelBook, annotation_from_json
    from data.annotation.gather import within
    from data.episodes import EpisodeStore
    from data.index import row_of
    from pipelines.steps.record.imported import fitting

    facts = import_facts(config, role)
    recorded = open_recorded(facts.folder, option=facts.option)
    source = contents(recorded, option=facts.option)
    ids, _ = fitting(recorded, source["episodes"], config.imported, facts)
    store, truths = EpisodeStore(recorded.store), set(source["truths"])
    imported = {i: annotation_from_json(i, source["labels"][i]) for i in ids if i in source["labels"]}
    said: Mapping[str, Annotation] = {**imported, **LabelBook(root / "labels").annotations()}
    seen = []
    for episode in ids:
        # Size and checksum of the file are not looked at.
        row = row_of(store.header(episode), b"")
        outcome = None
        if episode in said:
            outcome = within(said[episode], row.length, facts.option).outcome
        elif episode in truths and config.annotate.detector:
            outcome = store.truth(episode).outcome
        seen.append(_Seen(row=row, store=store, has_truth=episode in truths, outcome=outcome))
    return seen


def _check_learned(config: RunConfig, learned: Mapping[str, Sequence[_Seen]]) -> None:
    """What values, labels and the training on them would be refused for."""
    from pipelines.experience import refuse_none_labelled
    from value_model.folds import check_folds

    everything = [one for seen in learned.values() for one in seen]
    refuse_none_labelled(len(everything))
    if not any(map(_has_autonomous_steps, learned["rollouts"])):
        raise ConfigError(
            f"--rollouts {config.rollouts_from}: no labelled episode with a step in which a policy acted alone, and "
            f"labels take their threshold from those ({len(learned['rollouts'])} labelled episodes there)",
            hint="recap annotate --all, or give another --rollouts DIR",
        )
    check_folds(len(everything), config.cross_fit)
    _check_lengths(config, [one.row for one in everything])
    _check_truths(config, everything)
    _check_pack(config, everything)


def _has_autonomous_steps(one: _Seen) -> bool:
    # A rollout has no other steps; a correction may have none.
    return one.row.source is Source.ROLLOUT or not bool(one.store.numbers(one.row.id)[2].all())


def _check_lengths(config: RunConfig, rows: Sequence[EpisodeRow]) -> None:
    import numpy as np

    from data.tasks import TASKS
    from value_model.returns import check_lengths

    task = TASKS.get(config.tasks[0])
    lengths = np.array([row.length for row in rows], dtype=np.int64)
    try:
        check_lengths(lengths, np.full_like(lengths, task.spec.max_steps), config.returns, ids=[row.id for row in rows])
    except ConfigError as error:
        path: Any = getattr(task, "path", None)
        if path is None:
            raise
        raise ConfigError(
            error.message, hint=f"set max_steps in {path} to {int(lengths.max())} or more, or leave these episodes out"
        ) from error


def _check_truths(config: RunConfig, seen: Sequence[_Seen]) -> None:
    import numpy as np

    from pipelines.preflight.models import privileged

    asked = privileged(config)
    if not asked:
        return
    blind = [one for one in seen if not one.has_truth or bool(np.isnan(one.store.truth(one.row.id).progress).any())]
    if blind:
        raise ConfigError(
            f"{asked[0]}: {len(blind)} of {len(seen)} episodes hold no simulator truth with a "
            "measure of progress, which that control reads",
            hint="--value viva   (and no such arm in --labels or --arms)",
        )


def _check_pack(config: RunConfig, seen: Sequence[_Seen]) -> None:
    from data.framecache import check_pack
    from data.task_list import robot_of
    from policy.models import family_of

    size = family_of(config.policy.model).image_size(config.policy.model)
    check_pack([one.row for one in seen], image_size=size, cameras=robot_of(config.tasks).camera_names)
