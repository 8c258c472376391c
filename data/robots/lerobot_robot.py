"""LeRobot's Robot and Teleoperator behind recap's `Robot`: the task's names and order, limits, the control rate.

Owns what may be sent. Whatever a driver raises becomes a RobotFault that says in which call. Knows no key and no
episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from data.resize import letterbox
from data.robots.lerobot_config import RobotSetup
from data.robots.pace import Pace, PaceReport
from recap.errors import ActionRefused, ConfigError, RecapError, RobotFault
from recap.specs import RobotSpec
from recap.types import FloatArray, FrameArray


@contextmanager
def _faults(device: Any, call: str) -> Iterator[None]:
    try:
        yield
    except RecapError:
        raise
    # Drivers raise whatever they like; each of it means that the device cannot be relied on.
    except Exception as error:
        raise RobotFault(f"{device.name}: {call} failed: {type(error).__name__}: {error}") from error


@contextmanager
def connected(*devices: Any) -> Iterator[None]:
    """All devices connected, in order; all of them disconnected at the end, in reverse order, whatever happens.

    A device whose connecting failed half-way is told to disconnect too. When one cannot be disconnected the others
    still are, and the fault says so unless another one is under way.

    Raises:
        RobotFault: a device could not be connected or disconnected.
    """
    with ExitStack() as stack:
        for device in devices:
            stack.push(lambda kind, error, trace, device=device: _disconnect(device, error))
            with _faults(device, "connect"):
                device.connect()
        yield


def _disconnect(device: Any, under_way: BaseException | None) -> bool:
    try:
        device.disconnect()
    # As in every call: drivers raise whatever they like, and the other devices are still to be let go.
    except Exception as error:
        fault = f"{device.name}: disconnect failed: {type(error).__name__}: {error}"
        if under_way is None:
            raise RobotFault(fault) from error
        # What ended the session matters more; a device that never connected always complains here.
        under_way.add_note(fault)
    return False


class LeRobotRobot:
    """A `recap.protocols.Robot` over a connected LeRobot robot, for a task's `RobotSpec`.

    One observation serves `state` and `frames` of a step. Connecting is the business of `connected`.
    """

    renderer: str | None = None

    def __init__(self, device: Any, spec: RobotSpec, setup: RobotSetup, *, rate_hz: float) -> None:
        """`device` need not be connected yet.

        Raises:
            ConfigError: it lacks a channel or a camera of the task, wants a channel that the task does not have, or
                the limits are not those of the task's channels; all of it named.
        """
        self.device, self.spec, self.setup = device, spec, setup
        self._numbers, self._commands = device.observation_features, device.action_features
        problems: list[str] = []
        scalars = [key for key, kind in self._numbers.items() if not isinstance(kind, tuple)]
        images = [key for key, kind in self._numbers.items() if isinstance(kind, tuple)]
        self._state_keys = _keys("state", spec.state_names, setup.state, scalars, problems)
        self._action_keys = _keys("action", spec.action_names, setup.action, list(self._commands), problems)
        self._camera_keys = _keys("camera", spec.camera_names, setup.cameras, images, problems)
        unknown = sorted(set(self._commands) - set(self._action_keys))
        problems += [f"the robot also wants the action '{key}', which the task does not have" for key in unknown]
        unlimited = sorted(set(spec.action_names) - set(setup.limits))
        problems += [f"limits: no [lowest, highest] for action channel '{name}'" for name in unlimited]
        foreign = sorted(set(setup.limits) - set(spec.action_names))
        problems += [f"limits: '{name}' is no action channel of the task" for name in foreign]
        if problems:
            listed = "".join(f"\n  {problem}" for problem in problems)
            raise ConfigError(
                f"robot '{device.name}' does not fit the task's robot '{spec.id}':{listed}",
                hint="name them under 'recap:' in the robot's file: state, action, cameras, limits (docs/robots.md)",
            )
        # In the type of a command, so that one exactly at a limit is not beyond it.
        limits = np.array([setup.limits[name] for name in spec.action_names], dtype=np.float32)
        self._low, self._high = limits[:, 0], limits[:, 1]
        self._pace = Pace(rate_hz)
        self._seen: Mapping[str, Any] | None = None
        self.sent: FloatArray | None = None
        """[A] the action of the last step, as the robot says it was sent; None before the first."""

    def reset(self, seed: int) -> None:
        """Starts the clock of an attempt. The scene is put right by a person; `seed` changes nothing."""
        self._seen = self.sent = None
        self._pace.start()

    def state(self) -> FloatArray:
        """[S] of the observation of this step.

        Raises:
            RobotFault: the robot failed, or gave no finite number.
        """
        return self._vector(self._observation(), self._state_keys, "observation")

    def frames(self) -> dict[str, FrameArray]:
        """{camera: [h, w, 3] uint8} of the observation of this step, letterboxed to the size the task asks for.

        Raises:
            RobotFault: the robot failed, or gave something else than an RGB image.
        """
        seen = self._observation()
        return {
            camera.name: _image(seen, key, self.device.name, camera.height, camera.width)
            for camera, key in zip(self.spec.cameras, self._camera_keys, strict=True)
        }

    def step(self, action: FloatArray) -> None:
        """Sends [A] and waits for the end of the control period.

        Raises:
            ActionRefused: not finite or beyond a limit; nothing was sent.
            RobotFault: the robot failed.
        """
        command = self._checked(action)
        with _faults(self.device, "send_action"):
            sent = self.device.send_action(dict(zip(self._action_keys, map(float, command), strict=True)))
        if not isinstance(sent, Mapping):
            raise RobotFault(
                f"{self.device.name}: send_action returned {type(sent).__name__}, expected the action that was sent"
            )
        self.sent = self._vector(sent, self._action_keys, "action sent")
        self._seen = None
        self._pace.wait()

    def pace(self) -> PaceReport:
        """How well the control rate was held since `reset`."""
        return self._pace.report()

    def present_command(self) -> FloatArray:
        """[A] the command that would keep the robot where it is: what was sent last, else the state of the same name.

        NaN where there is neither.
        """
        if self.sent is not None:
            return self.sent
        state = dict(zip(self.spec.state_names, self.state(), strict=True))
        return np.array([state.get(name, np.nan) for name in self.spec.action_names], dtype=np.float32)

    @property
    def action_keys(self) -> tuple[str, ...]:
        """The robot's own name of every action channel."""
        return self._action_keys

    def close(self) -> None:
        """Nothing is held: `connected` owns the connection."""

    def _observation(self) -> Mapping[str, Any]:
        if self._seen is None:
            with _faults(self.device, "get_observation"):
                self._seen = self.device.get_observation()
        return self._seen

    def _vector(self, values: Mapping[str, Any], keys: Sequence[str], what: str) -> FloatArray:
        missing = [key for key in keys if key not in values]
        if missing:
            raise RobotFault(f"{self.device.name}: no {', '.join(missing)} in its {what}")
        with _faults(self.device, what):
            numbers = np.array([float(values[key]) for key in keys], dtype=np.float32)
        if not np.isfinite(numbers).all():
            bad = [key for key, number in zip(keys, numbers, strict=True) if not np.isfinite(number)]
            raise RobotFault(f"{self.device.name}: {what} is not finite in {', '.join(bad)}")
        return numbers

    def _checked(self, action: FloatArray) -> FloatArray:
        command = np.asarray(action, dtype=np.float32)
        names = self.spec.action_names
        if command.shape != (len(names),):
            raise ActionRefused(f"action refused: shape {command.shape}, expected ({len(names)},)")
        # A comparison with NaN is False: it is refused as well.
        good = (command >= self._low) & (command <= self._high)
        if not good.all():
            listed = ", ".join(
                f"{names[i]} = {command[i]:g} (limits {self._low[i]:g}..{self._high[i]:g})"
                for i in np.flatnonzero(~good)
            )
            raise ActionRefused(f"action refused, nothing was sent: {listed}")
        return command


class Leader:
    """A connected LeRobot teleoperator whose actions go to a `LeRobotRobot`; blends in when it takes over."""

    def __init__(self, device: Any, robot: LeRobotRobot, *, rate_hz: float) -> None:
        """`device` need not be connected yet.

        Raises:
            ConfigError: its actions are not the robot's.
        """
        missing = [key for key in robot.action_keys if key not in device.action_features]
        if missing:
            raise ConfigError(
                f"teleoperator '{device.name}' gives no {', '.join(missing)}, which the robot '{robot.device.name}' "
                f"takes; it gives: {', '.join(device.action_features) or 'nothing'}"
            )
        self.device, self._robot = device, robot
        self._blend_steps = round(robot.setup.handover_s * rate_hz)
        self._from: FloatArray | None = None
        self._taken = 0

    def take_over(self) -> None:
        """From now on its actions count, beginning where the robot is."""
        self._from, self._taken = self._robot.present_command(), 0

    def action(self) -> FloatArray:
        """[A] what to send now.

        Raises:
            RobotFault: the teleoperator failed or left a channel out.
        """
        with _faults(self.device, "get_action"):
            given = self.device.get_action()
            missing = [key for key in self._robot.action_keys if key not in given]
            if missing:
                raise RobotFault(f"{self.device.name}: no {', '.join(missing)} in its action")
            wanted = np.array([float(given[key]) for key in self._robot.action_keys], dtype=np.float32)
        self._taken += 1
        share = min(1.0, self._taken / (self._blend_steps + 1))
        if self._from is None or share >= 1.0:
            return wanted
        # A channel that has no counterpart in the state begins where the teleoperator is.
        begin = np.where(np.isnan(self._from), wanted, self._from)
        return np.asarray(begin + np.float32(share) * (wanted - begin), dtype=np.float32)


def _keys(
    kind: str, names: Sequence[str], mapping: Mapping[str, str], known: Sequence[str], problems: list[str]
) -> tuple[str, ...]:
    found = []
    for name in names:
        candidates = (mapping[name],) if name in mapping else (name,) if kind == "camera" else (name, f"{name}.pos")
        key = next((one for one in candidates if one in known), None)
        if key is None:
            problems.append(f"no {kind} '{candidates[0]}'; the robot has: {', '.join(known) or 'none'}")
        else:
            found.append(key)
    foreign = sorted(set(mapping) - set(names))
    problems += [f"'{name}' is no {kind} of the task; it has: {', '.join(names)}" for name in foreign]
    if len(set(found)) != len(found):
        problems.append(f"two {kind} channels of the task are one of the robot: {', '.join(found)}")
    return tuple(found)


def _image(seen: Mapping[str, Any], key: str, robot: str, height: int, width: int) -> FrameArray:
    if key not in seen:
        raise RobotFault(f"{robot}: no image '{key}' in its observation")
    image = np.asarray(seen[key])
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise RobotFault(f"{robot}: camera '{key}' gave {image.dtype} {image.shape}, expected uint8 [h, w, 3]")
    # A copy: drivers reuse their buffers.
    return np.array(letterbox(image[None], height, width)[0])
