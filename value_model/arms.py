"""Arms: the sources of labels that need no value model, beside those that threshold the advantage of one.

    all      every frame is positive (DAgger)
    outcome  every frame of an attempt that succeeded
    random   the run's main arm, permuted within task, source and age; as the main arm: drawn at the task's share
    flaw     privileged: the simulator's own record of clean and flawed action segments
    oracle   privileged: true progress gained over the look-ahead, a threshold by share as for A

They say what labels could give: above them `flaw`, below them `random` bound what a value model can add. Owns the rules
and what a rule may know. A rule marks frames; what holds for every arm (frames that a human corrected are positive,
aborted ones are not) is added here. Must not know where episodes are stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recap.errors import ConfigError
from recap.registry import Registry
from recap.types import BoolArray, FloatArray, IntArray, PrivilegedTruth
from value_model.advantage import FrameLabels, LabelConfig, forced_frames, positive_threshold, threshold_frames
from value_model.episodes import EpisodeFacts
from value_model.returns import ReturnConfig, line_values, return_lines


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Known:
    """What a rule may know of N frames in E episodes."""

    facts: EpisodeFacts
    labels: FrameLabels
    """As the advantage of a value model gives them; of an arm without values no advantage, nothing positive but what is
    forced, and no threshold."""
    shares: Mapping[str, float]
    """{task: share that is to be positive}."""
    lookahead: IntArray
    """[E] N, control steps."""
    seed: int = 0
    """Of what is drawn."""
    main: BoolArray | None = None
    """[N] labels of the run's main arm; None where this is the main arm."""
    truth: Callable[[str], PrivilegedTruth | None] = lambda episode: None
    """episode id -> what only the simulator knows; None: nothing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeller:
    """One source of labels."""

    positive: Callable[[Known], BoolArray]
    """[N] the frames that a policy is told to imitate."""
    values: bool = False
    """It reads the values of a model (Known.labels)."""
    privileged: bool = False
    """It reads the simulator's truth: a control, never a contender."""
    shares: bool = False
    """It aims at the task's positive fraction (Known.shares)."""
    permutes: bool = False
    """Beside another arm it reads that one's labels (Known.main), and it draws (Known.seed)."""
    constant: bool = False
    """It may well mark every frame; of others such labels say nothing and are refused."""


ARMS: Registry[Labeller] = Registry("arm")
BY_ADVANTAGE = Labeller(positive=lambda known: known.labels.positive, values=True, shares=True)
"""What a value model's arm is: its advantage above the task's threshold."""


def make_marks(labeller: Labeller, known: Known, *, arm: str) -> FrameLabels:
    """The labels of an arm: what its rule says, with forced frames positive and aborted ones negative.

    Args:
        labeller: the rule.
        known: what it may know.
        arm: its name, for errors.

    Raises:
        ConfigError: it is privileged and an episode has no truth, or none that it can read; its answer is no [N] bool.
    """
    facts = known.facts
    if labeller.privileged:
        blind = [episode for episode in facts.ids if known.truth(episode) is None]
        if blind:
            raise ConfigError(
                f"arm {arm}: {len(blind)} of {len(facts.ids)} episodes hold no simulator truth, {blind[0][:12]} first; "
                "it labels by what only the simulator knows",
                hint="--labels outcome   (or leave that arm out of --arms)",
            )
    positive = labeller.positive(known)
    if positive.shape != (facts.num_frames,) or positive.dtype != np.bool_:
        raise ConfigError(
            f"arm {arm}: its labels have shape {positive.shape} and type {positive.dtype}, "
            f"expected ({facts.num_frames},) bool"
        )
    return replace(known.labels, positive=(positive | known.labels.forced) & facts.usable)


def bare_labels(facts: EpisodeFacts, config: LabelConfig, returns: ReturnConfig) -> FrameLabels:
    """The labels of an arm without values before its rule is asked: returns and forced frames, advantages NaN.

    Raises:
        ConfigError: as `returns`.
    """
    lines = return_lines(facts.offsets, facts.success, facts.max_steps, returns, ids=facts.ids, aborted=facts.aborted)
    forced = forced_frames(facts, config.human_positive)
    return FrameLabels(
        returns=line_values(facts.offsets, lines).astype(np.float32),
        advantage=np.full(facts.num_frames, np.nan, dtype=np.float32),
        positive=forced,
        forced=forced,
        on_threshold=threshold_frames(facts),
        thresholds={},
        shares={},
    )


def _outcome(known: Known) -> BoolArray:
    return known.facts.rows(known.facts.success)


def _random(known: Known) -> BoolArray:
    """Of the unforced frames of each task, source and age those with the lowest number drawn for them.

    As many as the main arm has there, or the task's share of them. A number is a function of (seed, episode, step).
    """
    facts, forced = known.facts, known.labels.forced
    drawn = np.concatenate([_words(known.seed, *one) for one in zip(facts.ids, facts.lengths.tolist(), strict=True)])
    positive = np.zeros(facts.num_frames, dtype=np.bool_)
    for task, source, current in sorted(set(zip(facts.tasks, facts.sources, facts.current.tolist(), strict=True))):
        of_group = facts.of_task(task) & facts.of_source(source) & (facts.current == current) & ~facts.aborted
        rows = np.flatnonzero(facts.rows(of_group) & ~forced)
        count = round(known.shares[task] * len(rows)) if known.main is None else int(known.main[rows].sum())
        positive[rows[np.argsort(drawn[rows], kind="stable")[:count]]] = True
    return positive


def _words(seed: int, episode: str, length: int) -> NDArray[np.uint64]:
    """[T] raw counter-based words: the same under every version of numpy."""
    key = np.frombuffer(hashlib.sha256(f"random-label:{seed}:{episode}".encode()).digest()[:16], dtype="<u8")
    return np.random.Philox(key=key).random_raw(length)


def _flaw(known: Known) -> BoolArray:
    """Clean segments are positive, flawed ones are not; what is neither goes by the episode's outcome."""
    from value_model.segments import action_quality, usual_gains

    facts = known.facts
    truths = [_truth(known, place) for place in range(facts.num_episodes)]
    usual = {
        task: usual_gains(truth for truth, own in zip(truths, facts.tasks, strict=True) if own == task)
        for task in facts.task_ids
    }
    quality = np.concatenate(
        [action_quality(truth, usual[task]) for truth, task in zip(truths, facts.tasks, strict=True)]
    )
    positive: BoolArray = (quality > 0) | ((quality == 0) & _outcome(known))
    return positive


def _oracle(known: Known) -> BoolArray:
    """Progress per step over the look-ahead above the task's threshold, taken from the frames that set that of A."""
    facts = known.facts
    rates = [
        progress_rate(_progress(known, place), int(known.lookahead[place]), success=bool(facts.success[place]))
        for place in range(facts.num_episodes)
    ]
    rate = np.concatenate(rates).astype(np.float32)
    positive = np.zeros(facts.num_frames, dtype=np.bool_)
    for task in facts.task_ids:
        own = facts.rows(facts.of_task(task))
        positive |= own & (rate > positive_threshold(rate[own & known.labels.on_threshold], known.shares[task]))
    return positive


def progress_rate(progress: FloatArray, lookahead: int, *, success: bool) -> NDArray[np.float64]:
    """[T] true progress gained per step until N steps later or the end, whichever comes first.

    An attempt that succeeded ends at progress 1, one that failed where it stands.
    """
    length = len(progress)
    along = np.append(progress.astype(np.float64), 1.0 if success else progress[-1])
    later = np.minimum(np.arange(length) + lookahead, length)
    return np.asarray((along[later] - along[:-1]) / (later - np.arange(length)))


def _truth(known: Known, place: int) -> PrivilegedTruth:
    """Of one episode, as long as it."""
    episode, length = known.facts.ids[place], int(known.facts.lengths[place])
    truth = known.truth(episode)
    if truth is None or len(truth.progress) != length:
        got = "none" if truth is None else f"of {len(truth.progress)} steps"
        raise ConfigError(f"truth of episode {episode[:12]}: {got}, expected {length} steps", hint="recap data verify")
    return truth


def _progress(known: Known, place: int) -> FloatArray:
    progress = _truth(known, place).progress
    if np.isnan(progress).any():
        raise ConfigError(
            f"arm oracle: the world of episode {known.facts.ids[place][:12]} has no measure of progress",
            hint="--arms outcome,random   (those need none)",
        )
    return progress


ARMS.add("all", Labeller(positive=lambda known: known.facts.usable, constant=True))
ARMS.add("outcome", Labeller(positive=_outcome))
ARMS.add("random", Labeller(positive=_random, shares=True, permutes=True))
ARMS.add("flaw", Labeller(positive=_flaw, privileged=True))
ARMS.add("oracle", Labeller(positive=_oracle, privileged=True, shares=True))
