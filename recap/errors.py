"""Every error recap raises on purpose.

A message says what went wrong, where (step, episode, field) and what was got against what was expected;
`hint` is the next command to type. All classes survive pickling, because Ray carries them between processes.

    RecapError
      +- ConfigError (ValueError)       a setting is out of range or unknown            exit 2
      |    +- UnknownName (KeyError)    no task, preset, step, ... of that name          exit 2
      +- GraphError (ValueError)        the steps do not fit together                    exit 2
      +- LayoutError                    a foreign package hides one of recap's own       exit 2
      +- Waiting                        a person is needed before the run can go on
      |    +- WaitingForLabels          episodes need a human's answer                   exit 3
      |    +- WaitingForOperator        attempts on a robot need its operator            exit 6
      +- WorkspaceLocked                another live run writes this workspace           exit 4
      +- Corrupt (OSError)              stored bytes are not what was committed          exit 5
      |    +- ArtifactCorrupt, EpisodeCorrupt
      +- OutOfTime                      the run ended at its --until                     exit 7
      +- StepFailed                     a step raised; the cause is chained              exit 1
      +- ResumeRefused                  a checkpoint lacks a component it needs          exit 1
      +- HealthError                    figures too bad to build on (labels, values)     exit 1
      +- RobotFault                     a robot or teleoperator failed or is gone        exit 1
      +- ActionRefused                  an action that must not reach a robot            exit 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar


def _rebuild(cls: type[RecapError], message: str, hint: str) -> RecapError:
    return cls(message, hint=hint)


class RecapError(Exception):
    """Root of the tree. `hint` names the next command; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        # A message may quote bytes that are no text (a file name): it can be printed and stored all the same.
        self.message, self.hint = (text.encode(errors="backslashreplace").decode() for text in (message, hint))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), self.message, self.hint)


class ConfigError(RecapError, ValueError):
    """A setting is out of range, of the wrong type, or unknown."""

    exit_code = 2


_NAMED = 20
"""So many known names are listed."""


class UnknownName(ConfigError, KeyError):
    """No such task, robot, policy, preset, step or run; the message offers the nearest name."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> UnknownName:
        """The error for `name` that is not one of `known`, with the nearest spelling.

        Example:
            >>> str(UnknownName.among("task", "shirt_foldin", ["shirt_folding"]))
            "unknown task 'shirt_foldin': did you mean 'shirt_folding'?"
        """
        # Only this path, which ends the command, needs it.
        import difflib

        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        # A store knows thousands of episodes.
        more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        tail = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names[:_NAMED]) or 'none'}{more}"
        return cls(f"unknown {kind} '{name}': {tail}", hint=hint)


class GraphError(RecapError, ValueError):
    """Steps that do not fit together: a cycle, a missing input, two nodes of one name."""

    exit_code = 2


class LayoutError(RecapError):
    """A foreign `data`, `policy`, ... package is found before recap's own."""

    exit_code = 2


class Waiting(RecapError):
    """The run stops until a person did something; issued again it goes on. Nothing has failed."""


class WaitingForLabels(Waiting):
    """The run stops until a human labels the episodes named in the message."""

    exit_code = 3


class WaitingForOperator(Waiting):
    """The run stops until an operator has made the attempts on a robot that the message counts."""

    exit_code = 6


class WorkspaceLocked(RecapError):
    """Another live run holds the one-writer lock of this workspace."""

    exit_code = 4


class Corrupt(RecapError, OSError):
    """Stored bytes are not what was committed."""

    exit_code = 5


class ArtifactCorrupt(Corrupt):
    """A step output fails its manifest."""


class EpisodeCorrupt(Corrupt):
    """An episode file is torn, altered or breaks the episode contract."""


class OutOfTime(RecapError):
    """The run ended where it loses nothing, because the time it was given is over. The same command goes on."""

    exit_code = 7


class StepFailed(RecapError):
    """A step raised an error; `__cause__` holds it where the process is the same."""


class ResumeRefused(RecapError):
    """A saved attempt lacks a component (weights, optimizer, RNG, ...) or was made with another setting."""


class HealthError(RecapError):
    """Figures that nothing may be built on: values or labels that failed their checks. Lists every failed check."""


class RobotFault(RecapError):
    """A robot or a teleoperator raised, or gave what its description rules out; `__cause__` holds what it raised."""


class ActionRefused(RecapError):
    """An action that is not finite or beyond a limit. It was not sent."""
