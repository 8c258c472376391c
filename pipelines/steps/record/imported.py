"""Episodes recorded elsewhere, taken in full: which are taken, which are refused by name, what was said of them before.

The folder they lie in is not part of the step's key, its content is (folder.py). A kill loses no finished episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.attempts import play_missing
from pipelines.ledger import Ledger
from pipelines.steps.record.folder import Recorded, open_recorded, why_misfit, why_other
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from pipelines.steps.record.worker import Importer
from recap.errors import ConfigError, EpisodeCorrupt, UnknownName
from recap.step import StepContext
from recap.types import Source

if TYPE_CHECKING:
    from pipelines.steps.record.step import ImportedConfig, RecordFacts

_BY = "recap ingest"
"""Who says it in the label book; not renamed: what was said by another name is taken for a person's."""
_NAMED = 8


def import_episodes(
    ctx: StepContext, config: ImportedConfig, facts: RecordFacts, source: Mapping[str, Any]
) -> Recording:
    """Takes the episodes that fit; `source` says what lies in the folder (folder.contents).

    Raises:
        ConfigError: nothing to take, or episodes that are not meant here or are of another robot; all named.
        EpisodeCorrupt: episodes that cannot be read or hold what no episode may hold; all named.
    """
    from data.annotation import LabelBook, annotation_from_json, gather_annotations
    from data.episodes import EpisodeStore

    recorded = open_recorded(facts.folder, option=facts.option)
    # Headers first: a swapped folder is refused before anything is copied.
    ids, left_out = fitting(recorded, source["episodes"], config, facts)
    store = EpisodeStore(ctx.workspace.episodes)
    present, judged_there = set(store.files()), set(source["truths"])
    # One for the workspace: what was once proved and is still here need not be read again when the folder has grown.
    ledger = Ledger(ctx.workspace.root / "collections" / "ingested.jsonl", key="episode_id")
    rows = play_missing(
        ctx,
        ledger,
        {episode: episode for episode in ids},
        role="collector",
        make_worker=Importer,
        worker_args=(str(recorded.store), str(ctx.workspace.episodes)),
        workers=facts.workers,
        unit="episodes",
        lost={
            episode
            for episode, row in ledger.rows().items()
            if row["problem"] or episode not in present or (episode in judged_there and not row["truth"])
        },
    )
    broken = {episode: row["problem"] for episode, row in rows.items() if row["problem"]}
    if broken:
        raise _unreadable(recorded, broken, facts)
    book = LabelBook(ctx.workspace.root / "labels")
    labels = source["labels"]
    book.take_imports([annotation_from_json(i, labels[i]) for i in ids if i in labels], by=_BY)
    said = gather_annotations(store, ids, label_book=book).by_id
    attempts = tuple(
        RecordedAttempt(
            episode_id=episode,
            source=Source(row["source"]),
            outcome=said[episode].outcome if episode in said else None,
            steps=row["steps"],
            human_steps=row["human_steps"],
            start_seed=row["start_seed"],
        )
        for episode, row in rows.items()
    )
    return Recording(
        task=facts.task,
        attempts=attempts,
        imported=True,
        left_out={reason: tuple(found) for reason, found in left_out.items()},
    )


def fitting(
    recorded: Recorded, ids: Iterable[str], config: ImportedConfig, facts: RecordFacts
) -> tuple[list[str], dict[str, list[str]]]:
    """The episodes to take, and {reason: those left out}.

    Raises:
        ConfigError: nothing to take, or episodes that are not meant here or are of another robot; all named.
        EpisodeCorrupt: episodes whose headers cannot be read.
    """
    from data.episodes import EpisodeStore
    from data.tasks import TASKS

    store, task = EpisodeStore(recorded.store), TASKS.get(facts.task)
    taken: list[str] = []
    others: dict[str, list[str]] = {}
    misfits: dict[str, str] = {}
    broken: dict[str, str] = {}
    for episode in ids:
        try:
            header = store.header(episode)
        except (EpisodeCorrupt, UnknownName) as error:
            broken[episode] = error.message
            continue
        other = why_other(header, task=facts.task, role=facts.role)
        misfit = "" if other else why_misfit(header, task)
        if other:
            others.setdefault(other, []).append(episode)
        elif misfit:
            misfits[episode] = misfit
        else:
            taken.append(episode)
    where = f"{facts.option} {recorded.store}"
    if broken:
        raise _unreadable(recorded, broken, facts)
    if misfits:
        raise ConfigError(
            f"{where}: {len(misfits)} episodes do not fit the robot of '{facts.task}':\n{_listed(misfits)}",
            hint=f"record them with that robot, or move them out of {recorded.store}",
        )
    reasons = "\n".join(f"  {len(found)} {reason}: {_shortened(found)}" for reason, found in sorted(others.items()))
    if others and config.others == "refuse":
        raise ConfigError(
            f"{where}: {sum(map(len, others.values()))} of {len(taken) + sum(map(len, others.values()))} "
            f"episodes are not meant here:\n{reasons}",
            hint=f"give another {facts.option} DIR, or leave them out: --set imported.others=skip",
        )
    if not taken:
        raise ConfigError(f"{where}: none of its episodes is meant here:\n{reasons}", hint=f"{facts.option} OTHER_DIR")
    return taken, {reason: sorted(found) for reason, found in sorted(others.items())}


def _unreadable(recorded: Recorded, broken: Mapping[str, str], facts: RecordFacts) -> EpisodeCorrupt:
    return EpisodeCorrupt(
        f"{facts.option} {recorded.store}: {len(broken)} episodes cannot be imported:\n{_listed(broken)}",
        hint=recorded.check_command(),
    )


def _listed(problems: Mapping[str, str]) -> str:
    lines = [f"  {Path(episode).name[:16]}: {problem}" for episode, problem in sorted(problems.items())]
    more = [f"  and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return "\n".join([*lines[:_NAMED], *more])


def _shortened(ids: list[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(episode[:12] for episode in sorted(ids)[:_NAMED]) + more
