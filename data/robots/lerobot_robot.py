"""LeRobot's Robot as an environment and its Teleoperator as an actor: names and order, limits, the control rate.

Owns what may be sent, and what stands in for a reading that failed. Knows no key and no episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.resize import letterbox
from data.robots.device import Readings, faults
from data.robots.lerobot_config import RobotSetup
from data.robots.pace import Pace, PaceReport
from data.versions import versions
from recap.errors import ActionRefused, ConfigError, RobotFault
from recap.protocols import Capabilities, Sent
from recap.specs import RobotSpec
from recap.types import FloatArray, FrameArray, Observation


class LeRobotRobot:
    """A `recap.protocols.Env` over a connected LeRobot robot, for a task's `RobotSpec`.

    It is read once a step. Connecting is the business of `device.connected`.
    """

    capabilities = Capabilities()
    renderer: str | None = None
    finished = False

    def __init__(self, device: Any, spec: RobotSpec, setup: RobotSetup, *, rate_hz: float, prompt: str) -> None:
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
        for what, given in (("limits", setup.limits), ("speeds", setup.speeds)):
            foreign = sorted(set(given) - set(spec.action_names))
            problems += [f"{what}: '{name}' is no action channel of the task" for name in foreign]
        if problems:
            listed = "".join(f"\n  {problem}" for problem in problems)
            raise ConfigError(
                f"robot '{device.name}' does not fit the task's robot '{spec.id}':{listed}",
                hint="name them under 'recap:' in the robot's file: state, action, cameras, limits (docs/robots.md)",
            )
        # In the type of a command, so that one exactly at a limit is not beyond it.
        limits = np.array([setup.limits[name] for name in spec.action_names], dtype=np.float32)
        self._low, self._high = limits[:, 0], limits[:, 1]
        speeds = [setup.speeds.get(name, np.inf) for name in spec.action_names]
        self._speeds, self._most = speeds, np.array(speeds, dtype=np.float32) / np.float32(rate_hz)
        self._prompt, self._pace = prompt, Pace(rate_hz)
        self.readings = Readings(retries=setup.read_retries, stale_steps=setup.stale_steps)
        """Of this robot and of the teleoperator that moves it."""
        self._seen: Observation | None = None
        self._last: Observation | None = None
        self._sent: FloatArray | None = None
        self.reports = True
        """Whether the robot says what it sent, as far as is known."""

    def reset(self, seed: int) -> None:
        """Starts the clock of an attempt. The scene is put right by a person; `seed` changes nothing."""
        # A reading of an earlier attempt shows another scene: it stands in for nothing in this one.
        self._seen = self._last = self._sent = None
        self.readings.start()
        self._pace.start()

    def observe(self, *, draw: bool = True) -> Observation:
        """This step's, frames letterboxed to the task's size: new, or, within the attempt's tolerance, the last good.

        Raises:
            RobotFault: the robot failed or gave no finite number or RGB image, in every try, and no further step may
                go on without.
        """
        if self._seen is None:
            try:
                self._last = self.readings.read(self._read)
            except RobotFault as fault:
                if self._last is None:
                    raise
                self.readings.do_without(fault)
            self._seen = self._last
        return self._seen

    def step(self, action: FloatArray) -> Sent:
        """Sends [A] once and waits for the end of the control period. Sent is what was asked if the robot does not say.

        Raises:
            ActionRefused: not finite, beyond a limit, or further from the last command than a channel's speed allows;
                nothing was sent.
            RobotFault: the robot failed.
        """
        command = self._checked(action)
        self._check_speed(command)
        # Never sent again when it fails: a driver may raise after it has sent, to some motors or to all of them.
        with faults(self.device, "send_action", remark="; not sent again, for it may have been sent"):
            sent = self.device.send_action(dict(zip(self._action_keys, map(float, command), strict=True)))
        if sent is not None and not isinstance(sent, Mapping):
            raise RobotFault(
                f"{self.device.name}: send_action returned {type(sent).__name__}, expected the action that was sent"
            )
        self.reports = self.reports and bool(sent)
        self._sent = _vector(self.device, sent, self._action_keys, "action sent") if sent else command
        self._seen, stale = None, self.readings.end_step()
        self._pace.wait()
        return Sent(action=self._sent, asked=command, stale=stale)

    @property
    def software(self) -> Mapping[str, str]:
        return {**versions("lerobot"), "robot": str(self.device.name)}

    def resume(self, *, look_again: bool = True) -> None:
        """After a pause: the next period begins now, with a new look or with what was seen before it."""
        if look_again:
            self._seen = None
        self._pace.resume()

    def pace(self) -> PaceReport:
        """How well the control rate was held since `reset`."""
        return self._pace.report()

    def present_command(self) -> FloatArray:
        """[A] the command that would keep the robot where it is: what was sent last, else the state of the same name.

        NaN where there is neither.
        """
        if self._sent is not None:
            return self._sent
        state = dict(zip(self.spec.state_names, self.observe().state, strict=True))
        return np.array([state.get(name, np.nan) for name in self.spec.action_names], dtype=np.float32)

    @property
    def action_keys(self) -> tuple[str, ...]:
        """The robot's own name of every action channel."""
        return self._action_keys

    def close(self) -> None:
        """Nothing is held: `connected` owns the connection."""

    def _read(self) -> Observation:
        with faults(self.device, "get_observation"):
            seen = self.device.get_observation()
            return Observation(
                prompt=self._prompt,
                state=_vector(self.device, seen, self._state_keys, "observation"),
                frames={
                    camera.name: _image(seen, key, self.device.name, camera.height, camera.width)
                    for camera, key in zip(self.spec.cameras, self._camera_keys, strict=True)
                },
            )

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

    def _check_speed(self, command: FloatArray) -> None:
        if not np.isfinite(self._most).any():
            return
        # A channel that has no counterpart in the state is free until the first command.
        change = np.nan_to_num(np.abs(command - self.present_command()), nan=0.0)
        # In float32 a change of exactly what is allowed may come out a little larger.
        fast = np.flatnonzero(change > self._most * np.float32(1 + 1e-4))
        if fast.size:
            listed = ", ".join(
                f"{self.spec.action_names[i]} by {change[i]:g} in one step (speeds: {self._speeds[i]:g} a second, "
                f"{self._most[i]:g} a step)"
                for i in fast
            )
            raise ActionRefused(f"action too fast, nothing was sent: {listed}")


class Teleoperator:
    """A person at the controls: a connected LeRobot teleoperator of a `LeRobotRobot`. Blends in when it takes over."""

    name, human, looks = "the teleoperator", True, False

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

    def begin(self) -> None:
        """From now on its actions count, beginning where the robot is."""
        self._from, self._taken = self._robot.present_command(), 0

    def act(self, observation: Observation, step: int) -> FloatArray:
        """As `command`: the person looks at the scene."""
        return self.command()

    def command(self) -> FloatArray:
        """[A] what to send now.

        A teleoperator that gives no action, as a keyboard without a key pressed, holds the command that was sent last.
        One that cannot be read does the same, within the attempt's tolerance.

        Raises:
            RobotFault: the teleoperator failed or left a channel out in every try, and no further step may go on.
            ActionRefused: it gave no action, and there is no command yet that could be held.
        """
        try:
            wanted = self._robot.readings.read(self._read)
        except RobotFault as fault:
            self._robot.readings.do_without(fault)
            return self._held()
        if wanted is None:
            return self._held()
        self._taken += 1
        share = min(1.0, self._taken / (self._blend_steps + 1))
        if self._from is None or share >= 1.0:
            return wanted
        # A channel that has no counterpart in the state begins where the teleoperator is.
        begin = np.where(np.isnan(self._from), wanted, self._from)
        return np.asarray(begin + np.float32(share) * (wanted - begin), dtype=np.float32)

    def _read(self) -> FloatArray | None:
        keys = self._robot.action_keys
        with faults(self.device, "get_action"):
            given = self.device.get_action()
            if given is None or len(given) == 0:
                return None
            return _vector(self.device, given, keys, "action")

    def _held(self) -> FloatArray:
        command = self._robot.present_command()
        unknown = [key for key, number in zip(self._robot.action_keys, command, strict=True) if np.isnan(number)]
        if unknown:
            raise ActionRefused(
                f"{self.device.name} gave no action, and nothing was sent yet that could be held in "
                f"{', '.join(unknown)}, which the robot does not measure"
            )
        return command


def _vector(device: Any, values: Mapping[str, Any], keys: Sequence[str], what: str) -> FloatArray:
    missing = [key for key in keys if key not in values]
    if missing:
        raise RobotFault(f"{device.name}: no {', '.join(missing)} in its {what}")
    with faults(device, what):
        numbers = np.array([float(values[key]) for key in keys], dtype=np.float32)
    if not np.isfinite(numbers).all():
        bad = [key for key, number in zip(keys, numbers, strict=True) if not np.isfinite(number)]
        raise RobotFault(f"{device.name}: {what} is not finite in {', '.join(bad)}")
    return numbers


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
