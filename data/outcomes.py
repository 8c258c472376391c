"""How an attempt ended, as other systems write it: a cell per episode, or a column of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recap.errors import ConfigError
from recap.types import Outcome

_SPELLINGS = {
    Outcome.SUCCESS: ("success", "succeeded", "successful", "true", "1", "1.0"),
    Outcome.FAILURE: ("failure", "failed", "fail", "false", "0", "0.0"),
    Outcome.ABORTED: ("aborted", "abort"),
}
_MEANING = {word: outcome for outcome, words in _SPELLINGS.items() for word in words}
_WANTED = "true, false, 1, 0, 'success', 'failure', 'aborted' or nothing"


def outcome_of(value: Any, *, where: str) -> Outcome | None:
    """The outcome that a cell says: true, 1 or a usual word, whatever its case; None for an empty one.

    Raises:
        ConfigError: none of these; `where` begins the message.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str | bool | int | float):
        found = _MEANING.get(str(value).strip().lower())
        if found is not None:
            return found
    raise ConfigError(f"{where}: {value!r} is no outcome, expected {_WANTED}")


def outcome_of_frames(values: Sequence[Any], rule: str, *, where: str) -> Outcome | None:
    """The outcome that a column of the frames says.

    Args:
        values: one per frame.
        rule: "end": what the last frame says; "once": success if any frame says so, else what was said last; "":
            both, which have to agree.
        where: begins every complaint.

    Raises:
        ConfigError: a value is no outcome, or the two rules differ and none was chosen.
    """
    # A handful of different values stand in thousands of frames.
    meanings = {value: outcome_of(value, where=where) for value in dict.fromkeys(values)}
    outcomes = [meanings[value] for value in values]
    end = outcomes[-1]
    said = [outcome for outcome in outcomes if outcome is not None]
    once = Outcome.SUCCESS if Outcome.SUCCESS in said else said[-1] if said else None
    if rule:
        return end if rule == "end" else once
    if end is not once:
        at = outcomes.index(Outcome.SUCCESS) if once is Outcome.SUCCESS else outcomes.index(once)
        raise ConfigError(
            f"{where}: says {once.value if once else 'nothing'} at frame {at} and "
            f"{end.value if end else 'nothing'} at the last one: expected a choice of what counts",
            hint="--outcome-rule once   (or: --outcome-rule end)",
        )
    return end
