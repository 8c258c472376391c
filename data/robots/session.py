"""Attempt after attempt on one robot, by one operator: waiting, judging, taking back, storing.

Every attempt is on disk, and its label after it, before the next one can begin: a process that dies loses at most the
attempt in flight. Owns what the verdicts do; an attempt itself is `recording.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from data.annotation import LabelBook
from data.describe import changed_steps, stale_steps
from data.episodes import EpisodeStore
from data.robots.buttons import with_buttons
from data.robots.keyboard import HELP, Key
from data.robots.pace import NO_PACE, PaceReport
from data.robots.recording import LOOK_S, VERDICTS, Keys, Played, RecordingSetup, play
from data.robots.signals import StopSignals
from data.verify import discard
from recap import faults
from recap.errors import ActionRefused
from recap.protocols import PolicyClient
from recap.types import JUDGED, Annotation, EpisodeDraft, Outcome


@dataclass(kw_only=True, slots=True)
class Kept:
    """One attempt of the session and what holds of it now."""

    draft: EpisodeDraft | None
    """None if it ended before its first step; dropped once the next attempt begins."""
    episode_id: str
    """"" while it is not in the store."""
    outcome: Outcome | None
    """None: discarded, or its verdict was taken back."""
    choice: str
    """Id of the label's entry in the book; "" without a label."""
    source: str
    note: str
    steps: int
    human_steps: int
    stale_steps: tuple[int, ...]
    """Steps that went on with an earlier reading."""
    changed_steps: int
    """Steps in which the robot sent something else than it was asked."""
    pace: PaceReport
    inference_s: float = 0.0
    """Seconds of inference beyond the control period."""
    slot: str = ""
    """What it is an attempt for, as its `Turn` says."""
    undone: bool = False
    """The verdict was taken back and no other was given yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The attempt to be made next."""

    policy: PolicyClient | None
    """Who acts; None: a person demonstrates."""
    number: int
    """The policy's noise depends on it."""
    slot: str = ""
    """What the attempt is for, kept with it."""
    remark: str = ""
    """What the operator is told; "": who acts."""
    stopped: Outcome = Outcome.ABORTED
    """What the attempt is if an action of the policy is refused or comes too late."""


class Plan(Protocol):
    """What the attempts of a session are for."""

    def progress(self, kept: Sequence[Kept]) -> tuple[int, int]:
        """How many attempts are there, and how many are wanted. `kept`: those of this session."""
        ...

    def next(self, kept: Sequence[Kept]) -> Turn | None:
        """The attempt to be made now; None: all are there."""
        ...

    def note(self, one: Kept, episode_id: str, outcome: Outcome) -> None:
        """Told before the attempt is stored as that episode, and its label after it."""
        ...


class Count:
    """A plan of so many attempts, all alike, judged success or failure."""

    def __init__(self, wanted: int, policy: PolicyClient | None) -> None:
        """`policy` acts in each; None: a person."""
        self._wanted, self._policy = wanted, policy

    def progress(self, kept: Sequence[Kept]) -> tuple[int, int]:
        """As `Plan.progress`."""
        return sum(one.outcome in JUDGED for one in kept), self._wanted

    def next(self, kept: Sequence[Kept]) -> Turn | None:
        """As `Plan.next`."""
        done, wanted = self.progress(kept)
        return None if done >= wanted else Turn(policy=self._policy, number=len(kept))

    def note(self, one: Kept, episode_id: str, outcome: Outcome) -> None:
        """Nothing: the episode and its label say it all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingSummary:
    """What a session left behind."""

    kept: tuple[Kept, ...]
    """Every attempt, the discarded ones too."""
    pace: PaceReport
    """Over all attempts."""
    inference_s: float
    """Seconds of inference beyond the control period, over all attempts."""
    reports: bool
    """Whether the robot said what it sent, throughout."""
    interrupted: str
    """Name of the signal that ended it, or ""."""

    @property
    def judged(self) -> int:
        """Episodes stored as success or failure."""
        return sum(one.outcome in JUDGED for one in self.kept)

    @property
    def unlabelled(self) -> int:
        """Episodes stored without a verdict."""
        return sum(bool(one.episode_id) and one.outcome is None for one in self.kept)


class RecordingSession:
    """Records until the plan has all its attempts, or the operator ends it.

    Example:
        with StopSignals() as stop, connected(*devices, say=print, stop=stop), TerminalKeys() as keys:
            plan = Count(20, setup.policy)
            session = RecordingSession(setup, store, book, plan, by="ada", keys=keys, stop=stop, say=print)
            session.run()
    """

    def __init__(
        self,
        setup: RecordingSetup,
        store: EpisodeStore,
        book: LabelBook,
        plan: Plan,
        *,
        by: str,
        keys: Keys,
        stop: StopSignals,
        say: Callable[[str], None],
    ) -> None:
        self._setup, self._store, self._book = setup, store, book
        self._by, self._plan = by, plan
        self._keys, self._stop, self._say = with_buttons(keys, setup), stop, say
        self._kept: list[Kept] = []
        self._pace, self._inference_s = NO_PACE, 0.0
        self._told = False
        """Said once: that the robot does not report what it sends."""

    def run(self) -> None:
        """Runs the session; `summary` tells at any time, also after an error, what it has left.

        Raises:
            RobotFault: the robot or the teleoperator failed. The attempt under way is stored as ABORTED before.
            RecapError: the policy failed, the same.
        """
        self._say(HELP)
        while self._wait() and (turn := self._plan.next(self._kept)) is not None:
            if self._kept:
                self._kept[-1].draft = None
            who = turn.remark or ("you act" if turn.policy is None else "the policy acts")
            self._say(f"attempt {len(self._kept) + 1}: {who}")
            setup = replace(self._setup, policy=turn.policy)
            played = play(setup, turn.number, keys=self._keys, stop=self._stop, say=self._say)
            self._keep(played, turn)
            if played.verdict.error is not None and not isinstance(played.verdict.error, ActionRefused):
                raise played.verdict.error
            if played.verdict.leave:
                return

    def summary(self) -> RecordingSummary:
        """What the session has left so far."""
        return RecordingSummary(
            kept=tuple(self._kept),
            pace=self._pace,
            inference_s=self._inference_s,
            reports=self._setup.robot.reports,
            interrupted=self._stop.asked,
        )

    def _wait(self) -> bool:
        """Between two attempts: True once the operator starts another."""
        self._keys.forget()
        judged, wanted = self._plan.progress(self._kept)
        enough = judged >= wanted
        self._say(
            f"{judged} of {wanted} recorded. "
            + ("Enter ends (u takes the last verdict back)" if enough else "Reset the scene, then Enter starts")
        )
        driving = False
        while not self._stop.asked:
            for key in self._keys.read(wait_s=0.0 if driving else LOOK_S):
                if key is Key.QUIT:
                    return False
                if key is Key.START and self._settled():
                    # Asked again: a verdict may have been changed meanwhile.
                    return self._plan.next(self._kept) is not None
                if key is Key.UNDO:
                    self._undo()
                elif key in VERDICTS:
                    self._judge(VERDICTS[key])
                elif key in (Key.INTERVENE, Key.HAND_BACK):
                    driving = self._drive(on=key is Key.INTERVENE)
            if driving:
                driving = self._drive_one_step()
        return False

    def _drive(self, *, on: bool) -> bool:
        """Moving the robot with the teleoperator between attempts, unrecorded; whether it goes on."""
        if on and self._setup.teleoperator is None:
            self._say("no teleoperator to move the robot with (--teleop-config)")
            return False
        if on:
            assert self._setup.teleoperator is not None, "checked above"
            self._setup.robot.reset(0)
            self._setup.teleoperator.begin()
        self._say("you move the robot, unrecorded; h lets go" if on else "the robot stands")
        return on

    def _drive_one_step(self) -> bool:
        assert self._setup.teleoperator is not None, "driving needs one"
        try:
            self._setup.robot.step(self._setup.teleoperator.command())
        except ActionRefused as refused:
            self._say(f"{refused.message}; the robot stands, i moves it again")
            return False
        return True

    def _settled(self) -> bool:
        if self._kept and self._kept[-1].undone:
            self._say("the last attempt has no verdict: s, f, space (aborted) or d first")
            return False
        return True

    def _keep(self, played: Played, turn: Turn) -> None:
        """Stores an attempt that is over, then its label."""
        self._pace += played.pace
        self._inference_s += played.inference_s
        draft = played.draft
        one = Kept(
            draft=draft,
            episode_id="",
            outcome=None,
            choice="",
            source=draft.source.value if draft is not None else "",
            note=played.verdict.note,
            steps=draft.length if draft is not None else 0,
            human_steps=0 if draft is None else int(draft.intervened.sum()),
            stale_steps=() if draft is None else stale_steps(draft),
            changed_steps=0 if draft is None else changed_steps(draft),
            pace=played.pace,
            inference_s=played.inference_s,
            slot=turn.slot,
        )
        self._kept.append(one)
        if not self._setup.robot.reports and not self._told:
            self._told = True
            self._say(
                f"{self._setup.robot.device.name} does not report what it sends: the action recorded is what was asked"
            )
        if draft is None:
            self._say(f"attempt {len(self._kept)} ended before its first step: nothing to keep. {one.note}".rstrip())
            return
        outcome = turn.stopped if played.verdict.by_policy else played.verdict.outcome
        if outcome is not None:
            self._label(one, outcome)
        self._tell(one)

    def _label(self, one: Kept, outcome: Outcome) -> None:
        if not one.episode_id:
            assert one.draft is not None, "the draft of the last attempt is kept"
            self._plan.note(one, self._store.id_of(one.draft), outcome)
            faults.point("record.before_episode")
            one.episode_id = self._store.commit(one.draft)
        faults.point("record.before_label")
        late = f"{one.pace.late} of {one.pace.steps} steps late" if one.pace.late else ""
        stale = f"on an earlier reading: {_steps(one.stale_steps)}" if one.stale_steps else ""
        note = "; ".join(part for part in (one.note, late, stale) if part)
        one.choice = self._book.record(Annotation(episode_id=one.episode_id, outcome=outcome, note=note), by=self._by)
        one.outcome = outcome

    def _undo(self) -> None:
        """Takes the last verdict back; the recording itself stays until another verdict discards it."""
        one = self._kept[-1] if self._kept else None
        if one is None or one.draft is None or one.undone:
            self._say("no verdict to take back")
            return
        if one.choice:
            self._book.undo(one.choice, by=self._by)
        one.choice, one.outcome, one.undone, one.note = "", None, True, ""
        self._say("taken back. What was it? s, f, space (aborted) or d")

    def _judge(self, outcome: Outcome | None) -> None:
        one = self._kept[-1] if self._kept else None
        if one is None or not one.undone:
            self._say("the last attempt has its verdict (u takes it back)" if one else "no attempt yet")
            return
        one.undone = False
        if outcome is not None:
            self._label(one, outcome)
        elif one.episode_id:
            discard(self._store, one.episode_id, reason=f"discarded by {self._by}")
            one.episode_id = ""
        self._tell(one)

    def _tell(self, one: Kept) -> None:
        said = one.outcome.value if one.outcome is not None else "discarded, nothing kept (u takes that back)"
        human = f", {one.human_steps} by a person" if one.human_steps and one.source != "demo" else ""
        late = f", {one.pace.late} late, worst {one.pace.worst_s * 1000:.0f} ms" if one.pace.late else ""
        stale = f", {len(one.stale_steps)} on an earlier reading" if one.stale_steps else ""
        changed = f", {one.changed_steps} sent otherwise than asked" if one.changed_steps else ""
        why = f" ({one.note})" if one.note else ""
        stored = f" -> {one.episode_id[:12]}" if one.episode_id else ""
        self._say(
            f"attempt {len(self._kept)}: {said}{why}, {one.source} of {one.steps} steps{human}, "
            f"{one.pace.rate_hz:.1f} Hz{late}{stale}{changed}{stored}"
        )


def _steps(numbers: tuple[int, ...]) -> str:
    return f"step{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
