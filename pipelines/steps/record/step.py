"""record: experience on disk. The settings say where from: the scripted expert, a policy, or recorded episodes.

Owns which starts are attempted, in what order they are listed, and what of them may be learned from; how an attempt is
made and stored belongs to `data`. A kill loses no finished episode: a re-issued step records what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from data.corrections import CorrectionConfig
from data.sim.flaws import FlawConfig
from pipelines.attempts import lost_episodes, pin_renderer, play_missing
from pipelines.facts import ACTING, ActingFacts, task_context
from pipelines.ledger import Ledger
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from recap.config import from_json, setting, validate
from recap.errors import ConfigError
from recap.specs import Split, start_seeds
from recap.step import Artifact, JsonOutput, StepContext, step
from recap.types import Outcome
from recap.workspace import Workspace

if TYPE_CHECKING:
    from data.episode_set import EpisodeSet


@dataclass(frozen=True, kw_only=True, slots=True)
class DemosConfig:
    """Demonstrations by the scripted expert that stands in for a human."""

    episodes: int = setting(200, minimum=1, maximum=1_000_000, help="demonstrations to record, of each task")
    flaws: FlawConfig = field(default_factory=FlawConfig)
    """How the expert errs."""

    def __post_init__(self) -> None:
        validate(self)

    @property
    def starts(self) -> int:
        """How many starts it uses."""
        return self.episodes


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutsConfig:
    """The champion's own attempts, alone and with a supervisor who corrects it."""

    attempts: int = setting(120, minimum=0, maximum=1_000_000, help="attempts that the policy makes alone")
    corrections: int = setting(40, minimum=0, maximum=1_000_000, help="further attempts with a supervisor who corrects")
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)
    """When the expert that stands in for a human takes over, and when it hands back."""

    def __post_init__(self) -> None:
        validate(self)
        if self.starts < 1:
            raise ConfigError("RolloutsConfig: attempts and corrections are both 0: nothing to record")

    @property
    def starts(self) -> int:
        """How many starts it uses."""
        return self.attempts + self.corrections


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedConfig:
    """Episodes recorded elsewhere, taken in full."""

    others: str = setting(
        "refuse", choices=("refuse", "skip"), help="episodes of another task or source, or from starts of another split"
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class OnRobotConfig:
    """Attempts on a real robot, made by its operator."""

    attempts: int = setting(minimum=0, maximum=1_000_000, help="by a person alone (demos), or by a policy alone")
    corrections: int = setting(0, minimum=0, maximum=1_000_000, help="further attempts that a person corrects")

    def __post_init__(self) -> None:
        validate(self)
        if self.attempts + self.corrections < 1:
            raise ConfigError("OnRobotConfig: attempts and corrections are both 0: nothing to record")


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFacts(ActingFacts):
    """What the graph says of a recording."""

    role: str = setting("demos", choices=("demos", "rollouts"))
    """What the episodes are recorded as."""
    folder: str = setting("", semantic=False)
    """Of recorded episodes: where they lie. What lies there is an input."""

    @property
    def task(self) -> str:
        """The one that is recorded."""
        return self.tasks[0]

    @property
    def option(self) -> str:
        """What a person typed to name the folder."""
        return f"--{self.role}"


def _no_longer_holds(workspace: Workspace, outputs: Mapping[str, Artifact]) -> str:
    """Why a committed recording can no longer be used: episodes that are gone, or since called aborted or no longer."""
    from data.annotation import LabelBook

    lost = lost_episodes(workspace, outputs["episodes"])
    if lost:
        return lost
    recording = outputs["summary"].read(Recording)
    if not recording.imported:
        return ""
    learned = set(outputs["episodes"].json()["ids"])
    recorded = {one.episode_id for one in recording.attempts}
    said = LabelBook(workspace.root / "labels").annotations()
    aborted = {i for i in learned if i in said and said[i].outcome is Outcome.ABORTED}
    back = {i for i in recorded - learned if i in said and said[i].outcome is not Outcome.ABORTED}
    if aborted or back:
        return f"{len(aborted)} of its episodes were called aborted since, {len(back)} are aborted no longer"
    return ""


def _context(facts: RecordFacts) -> Mapping[str, Any]:
    # Recorded episodes are what they are: how long another attempt would last changes nothing of them.
    fields = ("rate_hz",) if facts.folder else ACTING
    return task_context(*fields, robot=True)(facts)


@step(
    name="record",
    version=2,
    config=DemosConfig | RolloutsConfig | ImportedConfig | OnRobotConfig,
    facts=RecordFacts,
    optional=("policy", "source", "robot"),
    outputs=("episodes", "summary"),
    libraries=("mujoco", "numpy"),
    check=_no_longer_holds,
    context=_context,
)
def record(
    ctx: StepContext,
    config: DemosConfig | RolloutsConfig | ImportedConfig | OnRobotConfig,
    facts: RecordFacts,
    inputs: Mapping[str, Artifact],
) -> Mapping[str, JsonOutput]:
    """Outputs the EpisodeSet of what may be learned from, and how every attempt ended.

    `policy` makes the attempts of RolloutsConfig; `source` says what lies in the folder of ImportedConfig, and
    `robot` what OnRobotConfig is attempted on.

    Raises:
        ConfigError: every attempt was aborted, or recorded episodes that are not meant here; all named.
        EpisodeCorrupt: recorded episodes that cannot be read; all named.
        WaitingForOperator: attempts on the robot are still to be made.
    """
    from pipelines.steps.record.imported import import_episodes
    from pipelines.steps.record.robot import record_on_robot
    from pipelines.steps.record.worker import Collector, RolloutCollector

    if isinstance(config, ImportedConfig):
        recording = import_episodes(ctx, config, facts, inputs["source"].json())
    elif isinstance(config, OnRobotConfig):
        recording = record_on_robot(ctx, config, facts, inputs)
    else:
        seeds = start_seeds(Split.TRAIN, config.starts, offset=facts.first_seed)
        scene = (facts.task, pin_renderer(ctx, facts), facts.env.image_size)
        store = str(ctx.workspace.episodes)
        if isinstance(config, DemosConfig):
            rows = _play(ctx, facts, {seed: seed for seed in seeds}, Collector, (*scene, config.flaws, store))
        else:
            jobs = {seed: (seed, index >= config.attempts) for index, seed in enumerate(seeds)}
            acting = (str(inputs["policy"].path), facts.noise_seed, config.correction, facts.runtime, store)
            rows = _play(ctx, facts, jobs, RolloutCollector, (*scene, *acting))
        recording = Recording(task=facts.task, attempts=tuple(from_json(RecordedAttempt, row) for row in rows))
    ctx.journal.metrics(_figures(recording), step=0)
    return {"episodes": JsonOutput(learned_from(recording).to_json()), "summary": JsonOutput.of(recording)}


def _play(
    ctx: StepContext, facts: RecordFacts, jobs: Mapping[int, Any], worker: type[Any], worker_args: tuple[Any, ...]
) -> Sequence[Mapping[str, Any]]:
    from data.episodes import EpisodeStore

    # Not in scratch: when episodes are lost after the step was committed, only those are recorded again.
    ledger = Ledger(ctx.workspace.root / "collections" / f"{ctx.key}.jsonl", key="start_seed")
    present = set(EpisodeStore(ctx.workspace.episodes).files())
    rows = play_missing(
        ctx,
        ledger,
        jobs,
        role="collector",
        make_worker=worker,
        worker_args=worker_args,
        workers=facts.workers,
        unit="episodes",
        lost={seed for seed, row in ledger.rows().items() if row["episode_id"] not in present},
    )
    return list(rows.values())


def learned_from(recording: Recording) -> EpisodeSet:
    """The episodes that something may be learned from: broken physics and faults stay on disk and in the summary only.

    Raises:
        ConfigError: every attempt was aborted.
    """
    from data.episode_set import EpisodeSet

    usable = [one.episode_id for one in recording.attempts if one.outcome is not Outcome.ABORTED]
    if not usable:
        count = len(recording.attempts)
        raise ConfigError(f"all {count} attempts at {recording.task} were aborted: nothing to learn from")
    return EpisodeSet.of(usable)


def _figures(recording: Recording) -> dict[str, float]:
    judged = [one for one in recording.attempts if one.outcome is not None]
    figures = {
        "episodes": len(recording.attempts),
        "frames": sum(one.steps for one in recording.attempts),
        "human_frames": sum(one.human_steps for one in recording.attempts),
        "unlabelled": len(recording.attempts) - len(judged),
        "left_out": sum(map(len, recording.left_out.values())),
    }
    shares = {"success_fraction": sum(one.outcome is Outcome.SUCCESS for one in judged) / len(judged)} if judged else {}
    return {name: float(value) for name, value in {**figures, **shares}.items()}
