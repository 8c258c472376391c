"""ingest: recorded experience of another place, taken over in full. It stands where collect and rollout would record.

Owns which episodes are taken, which are refused by name, and what people said of them before. The folder it reads is
not part of its key, the content is (pipelines/recorded.py). Every finished episode survives a kill.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.attempts import attempt_shares, lost_episodes, play_missing, usable_ids
from pipelines.ledger import Ledger
from pipelines.recorded import Recorded, make_ingester, open_recorded, why_misfit, why_other
from pipelines.world import task_world
from recap.config import setting, validate
from recap.errors import ConfigError, EpisodeCorrupt, UnknownName
from recap.step import Artifact, JsonOutput, StepContext, step
from recap.workspace import Workspace

if TYPE_CHECKING:
    from data.annotation import Annotations

_BY = "recap ingest"
_NAMED = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """Settings of one take-over."""

    task: str
    """Task id."""
    role: str = setting("demos", choices=("demos", "rollouts"), help="what the folder is given as (set by the loop)")
    folder: str = setting("", semantic=False, help="where it lies (set by --demos and --rollouts)")
    others: str = setting(
        "refuse", choices=("refuse", "skip"), help="episodes of another task or source, or from starts of another split"
    )
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="readers working at once")

    def __post_init__(self) -> None:
        validate(self)

    @property
    def option(self) -> str:
        """What a person typed."""
        return f"--{self.role}"


def _no_longer_holds(workspace: Workspace, outputs: Mapping[str, Artifact]) -> str:
    """Why a committed take-over can no longer be used: episodes that are gone, or since called aborted or no longer."""
    from data.annotation import LabelBook
    from recap.types import Outcome

    lost = lost_episodes(workspace, outputs["episodes"])
    if lost:
        return lost
    learned = set(outputs["episodes"].json()["ids"])
    rows = {row["episode_id"]: row for row in outputs["summary"].json()["attempts"]}
    said = LabelBook(workspace.root / "labels").annotations()
    aborted = {i for i in learned if i in said and said[i].outcome is Outcome.ABORTED}
    back = {i for i in set(rows) - learned if i in said and said[i].outcome is not Outcome.ABORTED}
    if aborted or back:
        return f"{len(aborted)} of its episodes were called aborted since, {len(back)} are aborted no longer"
    return ""


@step(
    name="ingest",
    version=1,
    config=IngestConfig,
    inputs=("source",),
    optional=("previous",),
    outputs=("episodes", "experience", "summary"),
    libraries=("numpy",),
    code=(
        "data.episodes",
        "data.annotation",
        "pipelines.attempts",
        "pipelines.recorded",
        "data.episode_file",
    ),
    check=_no_longer_holds,
    world=task_world("rate_hz", robot=True),
)
def ingest(ctx: StepContext, config: IngestConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Outputs the episodes taken over, all experience so far (`previous` and these), and how each attempt ended.

    Raises:
        ConfigError: nothing to take over, or episodes that are not meant here or are of another robot; all named.
        EpisodeCorrupt: episodes that cannot be read or hold what no episode may hold; all named.
    """
    from data.annotation import LabelBook, annotation_from_json, gather_annotations
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore

    recorded = open_recorded(config.folder, option=config.option)
    source = inputs["source"].json()
    # Headers first: a swapped folder is refused before anything is copied.
    ids, left_out = fitting(recorded, source["episodes"], config)
    store = EpisodeStore(ctx.workspace.episodes)
    present, judged_there = set(store.files()), set(source["truths"])
    # One for the workspace: what was once proved and is still here need not be read again when the folder has grown.
    ledger = Ledger(ctx.workspace.root / "collections" / "ingested.jsonl", key="episode_id")
    taken = ledger.rows()
    rows = play_missing(
        ctx,
        ledger,
        {episode: episode for episode in ids},
        role="collector",
        make_worker=make_ingester,
        worker_args=(str(recorded.store), str(ctx.workspace.episodes)),
        workers=config.workers,
        unit="episodes",
        lost={
            episode
            for episode, row in taken.items()
            if row["problem"] or episode not in present or (episode in judged_there and not row["truth"])
        },
    )
    broken = {episode: row["problem"] for episode, row in rows.items() if row["problem"]}
    if broken:
        raise _unreadable(recorded, broken, config)
    book = LabelBook(ctx.workspace.root / "labels")
    labels = source["labels"]
    book.take_imports([annotation_from_json(i, labels[i]) for i in ids if i in labels], by=_BY)
    said = gather_annotations(store, ids, label_book=book)
    attempts = [_attempt(row, said) for row in rows.values()]
    judged = [row for row in attempts if row["outcome"] is not None]
    shares = attempt_shares(judged) if judged else {}
    counts = {"episodes": len(ids), "unlabelled": len(said.missing), "left_out": sum(map(len, left_out.values()))}
    ctx.journal.metrics({**shares, **{name: float(count) for name, count in counts.items()}}, step=0)
    new = EpisodeSet.of(usable_ids(attempts, config.task))
    before = EpisodeSet.from_json(inputs["previous"].json()) if "previous" in inputs else EpisodeSet.of(())
    summary = {
        "task": config.task,
        "attempts": judged,
        "unlabelled": list(said.missing),
        "left_out": left_out,
    }
    return {
        "episodes": JsonOutput(new.to_json()),
        "experience": JsonOutput((before | new).to_json()),
        "summary": JsonOutput(summary),
    }


def fitting(recorded: Recorded, ids: Iterable[str], config: IngestConfig) -> tuple[list[str], dict[str, list[str]]]:
    """The episodes to take over, and {reason: those left out}.

    Raises:
        ConfigError: nothing to take over, or episodes that are not meant here or are of another robot; all named.
        EpisodeCorrupt: episodes whose headers cannot be read.
    """
    from data.episodes import EpisodeStore
    from data.tasks import TASKS

    store, task = EpisodeStore(recorded.store), TASKS.get(config.task)
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
        other = why_other(header, task=config.task, role=config.role)
        misfit = "" if other else why_misfit(header, task)
        if other:
            others.setdefault(other, []).append(episode)
        elif misfit:
            misfits[episode] = misfit
        else:
            taken.append(episode)
    where = f"{config.option} {recorded.store}"
    if broken:
        raise _unreadable(recorded, broken, config)
    if misfits:
        raise ConfigError(
            f"{where}: {len(misfits)} episodes do not fit the robot of '{config.task}':\n{_listed(misfits)}",
            hint=f"record them with that robot, or move them out of {recorded.store}",
        )
    reasons = "\n".join(f"  {len(found)} {reason}: {_shortened(found)}" for reason, found in sorted(others.items()))
    if others and config.others == "refuse":
        raise ConfigError(
            f"{where}: {sum(map(len, others.values()))} of {len(taken) + sum(map(len, others.values()))} "
            f"episodes are not meant here:\n{reasons}",
            hint=f"give another {config.option} DIR, or leave them out: --set ingest.others=skip",
        )
    if not taken:
        raise ConfigError(f"{where}: none of its episodes is meant here:\n{reasons}", hint=f"{config.option} OTHER_DIR")
    return taken, {reason: sorted(found) for reason, found in sorted(others.items())}


def _attempt(row: Mapping[str, Any], said: Annotations) -> dict[str, Any]:
    """The row of the summary; `outcome` is None where nobody has judged the attempt."""
    annotation = said.by_id.get(row["episode_id"])
    kept = {name: value for name, value in row.items() if name not in ("problem", "truth")}
    return {**kept, "outcome": None if annotation is None else annotation.outcome.value}


def _unreadable(recorded: Recorded, broken: Mapping[str, str], config: IngestConfig) -> EpisodeCorrupt:
    return EpisodeCorrupt(
        f"{config.option} {recorded.store}: {len(broken)} episodes cannot be taken over:\n{_listed(broken)}",
        hint=recorded.check_command(),
    )


def _listed(problems: Mapping[str, str]) -> str:
    lines = [f"  {Path(episode).name[:16]}: {problem}" for episode, problem in sorted(problems.items())]
    more = [f"  and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return "\n".join([*lines[:_NAMED], *more])


def _shortened(ids: list[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(episode[:12] for episode in sorted(ids)[:_NAMED]) + more
