"""The buttons of a teleoperator beside the keys of the terminal, where its LeRobot driver tells of them.

LeRobot's drivers tell what holds now (`get_teleop_events`); an operator's key is what has changed since the last look.
"""

from __future__ import annotations

from typing import Any

from data.robots.device import Readings, faults
from data.robots.keyboard import Key
from data.robots.recording import Keys, RecordingSetup
from recap.errors import ConfigError

_INTERVENES = "is_intervention"
_ENDS = {
    "rerecord_episode": Key.DISCARD,
    "success": Key.SUCCESS,
    "failure": Key.FAILURE,
    "terminate_episode": Key.FAILURE,
}
"""{LeRobot's event: key}; of several at once the first counts: whatever ends an attempt also terminates it."""


class Buttons:
    """Keys of the terminal and, behind them, the buttons pressed since the last look."""

    def __init__(self, keys: Keys, device: Any, readings: Readings) -> None:
        """`device`: LeRobot's teleoperator, not connected yet; `readings`: how often it is asked again."""
        self._keys, self._device, self._readings = keys, device, readings
        self._held: set[str] = set()

    def read(self, *, wait_s: float = 0.0) -> list[Key]:
        """As `TerminalKeys.read`; the buttons are looked at after the wait.

        Raises:
            RobotFault: the teleoperator cannot say, however often it is asked.
        """
        return [*self._keys.read(wait_s=wait_s), *self._pressed()]

    def forget(self) -> None:
        """Drops what was typed or pressed and not yet read."""
        self._keys.forget()
        self._pressed()

    def _pressed(self) -> list[Key]:
        held = self._readings.read(self._told)
        began, ended = held - self._held, self._held - held
        self._held = held
        found = [Key.INTERVENE] if _INTERVENES in began else [Key.HAND_BACK] if _INTERVENES in ended else []
        return found + [key for name, key in _ENDS.items() if name in began][:1]

    def _told(self) -> set[str]:
        with faults(self._device, "get_teleop_events"):
            events = self._device.get_teleop_events()
            return {str(getattr(name, "value", name)) for name, holds in events.items() if holds}


def with_buttons(keys: Keys, setup: RecordingSetup) -> Keys:
    """The operator's keys, and the teleoperator's buttons where the robot's file asks for them.

    Raises:
        ConfigError: it asks, and there is no teleoperator that tells of its buttons.
    """
    if not setup.robot.setup.buttons:
        return keys
    device = None if setup.teleoperator is None else setup.teleoperator.device
    if device is None or not hasattr(device, "get_teleop_events"):
        who = "there is no teleoperator" if device is None else f"teleoperator '{device.name}' tells of no buttons"
        raise ConfigError(
            f"recap.buttons is true, and {who}", hint="buttons: false; the keys of the terminal do the same"
        )
    if device.name.startswith("keyboard"):
        # LeRobot's keyboard forgets its pressed keys whenever it is asked for events: it would no longer move anything.
        raise ConfigError(
            f"recap.buttons is true, and teleoperator '{device.name}' loses its movements when it is asked for buttons",
            hint="buttons: false; the keys of the terminal do the same",
        )
    return Buttons(keys, device, setup.robot.readings)
