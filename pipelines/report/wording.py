"""The result in plain words: what may be said of a difference and of a gate, and no more."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.report.formats import figure, points, share, signed
from pipelines.report.model import Difference, Evaluation, Iteration
from recap.gate import Verdict

_VERDICTS = {
    Verdict.PROMOTED: "promoted the new policy to champion",
    Verdict.KEPT: "kept the earlier champion, because the new policy did worse",
    Verdict.UNDECIDED: "could not tell the new policy from the champion, so the champion stays",
}


def difference_sentence(difference: Difference) -> str:
    """What the paired difference shows, and what it does not."""
    estimate = difference.estimate
    base = "imitation (iteration 0)" if difference.since == 0 else difference.base
    same = f"on the same {difference.starts} starts"
    interval = f"95 % interval {signed(100 * estimate.low)} to {signed(100 * estimate.high)}"
    if difference.same_policy:
        return f" That is the same policy as {base}: nothing was gained or lost, whatever the attempts say."
    if estimate.value == 0:
        shown = f"The success rate equals that of {base} {same}"
    else:
        size = points(abs(estimate.value)).lstrip("+")
        shown = f"That is {size} {'more' if estimate.value > 0 else 'fewer'} than {base} {same}"
    if estimate.low > 0:
        return f" {shown} ({interval}): better, beyond chance at this level."
    if estimate.high < 0:
        return f" {shown} ({interval}): worse, beyond chance at this level."
    return f" {shown} ({interval}). The interval includes 0: these attempts do not show whether it is better or worse."


def gate_sentence(iteration: Iteration, tasks: Sequence[str] = ()) -> str:
    """The gate's verdict on the challenger of `iteration`; `tasks`: all it was asked about, if several."""
    gate, e = iteration.gate, iteration.evaluation
    if gate is None:
        return ""
    decision = gate.decision
    attempts = "attempt" if decision.pairs == 1 else "attempts"
    at = f" at {len(tasks)} tasks together" if tasks else ""
    text = (
        f"The promotion gate, after {decision.pairs} paired {attempts}{at} on starts of its own, "
        f"{_VERDICTS[decision.verdict]}."
    )
    if e is not None and gate.challenger_policy_id and decision.verdict is not Verdict.PROMOTED:
        if e.policy_id == gate.challenger_policy_id:
            text += " The figures here are those of the new policy, not of the champion."
        elif e.policy_id == gate.champion_policy_id:
            text += " The figures here are those of the champion that stayed."
    return text


def progress_sentence(first: int, before: Evaluation, now: Evaluation) -> str:
    """Success and throughput of the first iteration that was evaluated, and now."""
    return (
        f" Iteration {first} stood at {share(before.success.value)} and {figure(before.throughput.value)} per "
        f"hour; now {share(now.success.value)} and {figure(now.throughput.value)}."
    )
