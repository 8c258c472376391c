"""Single keys from the terminal, without Enter and without echo.

Owns the terminal mode and what each key means. Needs no root, no display and no other process: the keys are those of
the terminal that the command runs in, also over ssh. Ctrl-C stays a signal.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import tty
from enum import StrEnum
from types import TracebackType
from typing import Self

from recap.errors import ConfigError


class Key(StrEnum):
    """What the operator asks for."""

    START = "start"
    INTERVENE = "intervene"
    HAND_BACK = "hand back"
    SUCCESS = "success"
    FAILURE = "failure"
    STOP = "stop"
    PAUSE = "pause"
    DISCARD = "discard"
    UNDO = "undo"
    QUIT = "quit"


KEYS = {
    b"\r": Key.START,
    b"\n": Key.START,
    b"i": Key.INTERVENE,
    b"h": Key.HAND_BACK,
    b"s": Key.SUCCESS,
    b"f": Key.FAILURE,
    b" ": Key.STOP,
    b"p": Key.PAUSE,
    b"d": Key.DISCARD,
    b"u": Key.UNDO,
    b"q": Key.QUIT,
}
HELP = (
    "Enter starts an attempt; i take over, h hand back; s success, f failure, space stop (aborted), d discard; "
    "p pause; u takes the last verdict back; q ends"
)


class TerminalKeys:
    """The keys typed since the last look. A context manager: the terminal is as before when it is left.

    Example:
        with TerminalKeys() as keys:
            pressed = keys.read()
    """

    def __init__(self, fd: int = 0) -> None:
        """`fd` is a terminal; standard input by default.

        Raises:
            ConfigError: it is none.
        """
        if not os.isatty(fd):
            raise ConfigError(
                "the keys that judge an attempt come from a terminal, and standard input is none",
                hint="run this command in a terminal; over ssh: ssh -t HOST ...",
            )
        self._fd = fd
        self._before: list[object] | None = None
        self._gone = False

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._fd)
        # Not fully raw: Ctrl-C must reach a program that hangs in a driver.
        tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            # A terminal that was closed meanwhile has no mode to restore.
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    def read(self, *, wait_s: float = 0.0) -> list[Key]:
        """Keys typed since the last look, in order; waits up to `wait_s` for the first. Unknown keys are dropped.

        A terminal that has gone counts as QUIT, once.
        """
        if self._gone or not select.select([self._fd], [], [], wait_s)[0]:
            return []
        try:
            typed = os.read(self._fd, 1024)
        except OSError:  # EIO: the other end of the terminal was closed
            typed = b""
        if not typed:
            self._gone = True
            return [Key.QUIT]
        # An arrow key is an escape and letters: none of them was meant.
        if typed.startswith(b"\x1b"):
            return []
        return [KEYS[one] for one in (bytes([value]) for value in typed) if one in KEYS]

    def forget(self) -> None:
        """Drops what was typed and not yet read: it was meant for what is over."""
        if not self._gone:
            termios.tcflush(self._fd, termios.TCIFLUSH)
