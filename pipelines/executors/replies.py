"""What comes back from a worker's process: its result, its exception, or word of its death."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from pipelines.executors.base import WorkerDied
from pipelines.executors.host import Reply
from recap.errors import RecapError, StepFailed
from recap.training.runtime import PeerLost


class RemoteTraceback(Exception):  # it is the cause shown above an error, not an error of its own
    """Where in the worker's process an error was raised."""

    def __str__(self) -> str:
        return f"in the worker:\n{self.args[0]}"


def open_reply(reply: Reply) -> Any:
    """The result, or the worker's exception raised here."""
    good, body, text = reply
    if good:
        return pickle.loads(body)
    if not body:
        raise StepFailed(f"a worker raised an error that cannot be sent between processes:\n{text}")
    error: BaseException = pickle.loads(body)
    raise error from RemoteTraceback(text)


def telling(replies: Sequence[Reply]) -> Reply:
    """Of processes that worked together: the first one's where all went well, else the error that says most.

    Those that were left by one that failed complain of that; what recap raised itself is the cause.
    """
    wrong = [reply for reply in replies if not reply[0]]
    known = [reply for reply in wrong if reply[1] and isinstance(pickle.loads(reply[1]), RecapError)]
    own = [reply for reply in wrong if not left_by_another(reply)]
    return [*known, *own, *wrong, *replies][0]


def left_by_another(reply: Reply) -> str:
    """What a process complains of that lost another one of its group; "" if that is not what it says."""
    good, body, _ = reply
    error = None if good or not body else pickle.loads(body)
    return str(error) if isinstance(error, PeerLost) else ""


def died(what: str, times: int, death: str, last: str) -> WorkerDied:
    """The error for a job whose workers keep dying."""
    words = f"; its last words:\n{last}" if last else "; it left no last words"
    return WorkerDied(f"{what}: its worker died {times} times ({death}){words}")


def shortly(error: BaseException) -> str:
    """Ray's reason without the advice: the line that says how the process ended."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "exit detail" in line or "killed" in line.lower()]
    return (telling or lines or [type(error).__name__])[0][:300]
