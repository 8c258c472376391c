"""Ctrl-C, SIGTERM and a closed terminal as a wish that the control loop looks at once a step.

An exception out of nowhere could end a command to a motor bus half-way. A second Ctrl-C does raise: the loop may hang.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While it is entered, the first signal is kept in `asked`; a second Ctrl-C raises KeyboardInterrupt.

    While `urgent`, as when devices are being connected and a person may be asked for something, the first raises, too.
    """

    def __init__(self) -> None:
        self.asked = ""
        """Name of the signal that came ("SIGINT"); "" if none did."""
        self.urgent = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = bool(self.asked)
        self.asked = signal.Signals(number).name
        if self.urgent or (again and number == signal.SIGINT):
            raise KeyboardInterrupt
