"""A robot that is read and not moved: what would be sent is said, once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


class DryRobot:
    """Stands before a LeRobot robot and sends nothing; all else is the robot's own."""

    def __init__(self, device: Any, say: Callable[[str], None]) -> None:
        self._device, self._say, self._said = device, say, 0.0
        self.kept_back = 0
        """Actions that would have been sent."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def send_action(self, action: Mapping[str, float]) -> Mapping[str, float]:
        """Sends nothing; says it now and then."""
        self.kept_back += 1
        if (now := time.monotonic()) - self._said >= 1.0:
            self._said = now
            self._say("dry: " + ", ".join(f"{key} {value:.3g}" for key, value in action.items()))
        return action
