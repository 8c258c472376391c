"""How a policy's attempt begins on a robot, what a pause lets through, and who is let go when a signal comes."""

import functools
import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from lerobot.utils.errors import DeviceNotConnectedError

from data.robots.device import connected
from data.robots.dry import DryRobot
from data.robots.keyboard import Key
from data.robots.lerobot_config import RobotSetup
from data.robots.lerobot_robot import LeRobotRobot, Teleoperator
from data.robots.recording import RecordingSetup, play
from data.robots.signals import StopSignals
from recap.errors import RecapError
from recap.specs import CameraSpec, RobotSpec, TaskSpec
from recap.types import Outcome

RATE_HZ, STEPS = 200.0, 10
TASK = TaskSpec(
    id="t", prompt="p", robot="r", max_steps=STEPS, rate_hz=RATE_HZ, lookahead_s=1.0, positive_fraction=0.4,
    reset_s=1.0, success="s",
)  # fmt: skip


class Arm:
    name = "arm"
    action_features = {"x": float, "y": float}  # noqa: RUF012

    def __init__(self, state):
        self.state, self.sent = state, []
        self.observation_features = {**dict.fromkeys(state, float), "cam": (8, 8, 3)}

    def get_observation(self):
        return {**self.state, "cam": np.zeros((8, 8, 3), np.uint8)}

    def send_action(self, action):
        self.sent.append(dict(action))
        return action


class Policy:
    policy_id, execute = "p" * 64, 4

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def infer(self, observations, seeds):
        time.sleep(self.seconds)
        return [np.linspace(0.5, 0.6, 20, dtype=np.float32)[:, None].repeat(2, axis=1)]


class Leader:
    name = "leader"
    action_features = Arm.action_features

    def __init__(self, *bad):
        self.bad, self.asked = bad, 0

    def get_action(self):
        self.asked += 1
        return {"x": 0.5, "y": np.nan if self.asked in self.bad else 0.5}


class Typed:
    def __init__(self, *script):
        self.script = [list(keys) for keys in script]

    def read(self, *, wait_s=0.0):
        time.sleep(wait_s / 10)
        return self.script.pop(0) if self.script else []

    def forget(self):
        pass


def played(state, *, keys=(), policy=None, leader=None, **setup):
    spec = RobotSpec(
        id="r", state_names=tuple(state), action_names=("x", "y"), action_units=("m", "m"), gripper_dims=(),
        cameras=(CameraSpec(name="cam", height=8, width=8),),
    )  # fmt: skip
    arm = Arm(state)
    limits = RobotSetup(limits={"x": (0.0, 1.0), "y": (0.0, 1.0)}, **setup)
    robot = LeRobotRobot(arm, spec, limits, rate_hz=RATE_HZ, prompt="p")
    teleoperator = None if leader is None else Teleoperator(leader, robot, rate_hz=RATE_HZ)
    who = RecordingSetup(
        task=SimpleNamespace(spec=TASK, robot=spec),
        robot=robot,
        teleoperator=teleoperator,
        policy=policy or (Policy() if leader is None else None),
    )
    return arm, play(who, 0, keys=Typed(*keys), stop=StopSignals(), say=lambda text: None)


@pytest.mark.parametrize(
    ("state", "setup"),
    [
        ({"x": 0.5, "y": 0.5}, {}),
        ({"j1": 0.5, "j2": 0.5}, {}),
        ({"x": 0.5, "y": 1.001}, {}),
        ({"x": 0.5, "y": 0.5}, {"late_s": 0.0}),
    ],
    ids=["usual", "channels that the state lacks", "it rests beyond a limit", "nothing is ever held"],
)
def test_a_policy_begins_with_its_first_action_and_nothing_is_sent_before(state, setup):
    arm, result = played(state, policy=Policy(0.05), **setup)
    assert arm.sent[0] == {"x": 0.5, "y": 0.5}
    assert arm.sent[1]["x"] == pytest.approx(0.5 + 0.1 / 19), "no action of the chunk was past"
    assert (result.draft.length, result.verdict.note, result.inference_s) == (STEPS, "time limit", 0.0)
    # The wait is before the first period.
    assert result.pace.worst_s < 0.05


def test_a_policy_that_never_answers_ends_the_session_with_an_error(monkeypatch):
    monkeypatch.setattr("data.robots.recording._FIRST_S", 0.05)
    arm, result = played({"x": 0.5, "y": 0.5}, policy=Policy(0.3))
    assert isinstance(result.verdict.error, RecapError)
    assert "no action within" in result.verdict.note
    assert arm.sent == []


def test_whoever_waits_for_the_first_action_can_leave():
    arm, result = played({"x": 0.5, "y": 0.5}, policy=Policy(0.3), keys=[[], [Key.QUIT]])
    assert (arm.sent, result.verdict.leave, result.verdict.outcome) == ([], True, Outcome.ABORTED)


@pytest.mark.parametrize("useless", [Key.UNDO, Key.INTERVENE, Key.HAND_BACK])
def test_a_pause_ends_by_p_or_enter_alone(useless):
    keys = [[], [], [Key.PAUSE], [useless], [useless], [Key.STOP]]
    arm, result = played({"x": 0.5, "y": 0.5}, leader=Leader(), keys=keys)
    assert len(arm.sent) == 2, "a key that does nothing here moved the robot"
    assert result.verdict.note == "stopped by the operator"
    again, result = played({"x": 0.5, "y": 0.5}, leader=Leader(), keys=[[], [Key.PAUSE], [useless], [Key.START]])
    assert (len(again.sent), result.verdict.note) == (STEPS, "time limit")


def test_what_is_typed_with_a_pause_counts_too():
    arm, result = played({"x": 0.5, "y": 0.5}, leader=Leader(), keys=[[], [], [Key.PAUSE, Key.QUIT]])
    assert (len(arm.sent), result.verdict.leave) == (2, True)
    arm, result = played({"x": 0.5, "y": 0.5}, leader=Leader(), keys=[[], [Key.PAUSE, Key.PAUSE], [], [Key.SUCCESS]])
    assert (len(arm.sent), result.verdict.outcome) == (3, Outcome.SUCCESS)


def test_a_teleoperator_that_gives_no_number_once_is_asked_again():
    leader = Leader(5)
    arm, result = played({"x": 0.5, "y": 0.5}, leader=leader)
    assert (len(arm.sent), leader.asked, result.verdict.note) == (STEPS, STEPS + 1, "time limit")
    arm, result = played({"x": 0.5, "y": 0.5}, leader=Leader(5), read_retries=0, stale_steps=0)
    assert "leader: action is not finite in y" in result.verdict.note
    assert len(arm.sent) == 4


class Part:
    def __init__(self, name, log, *, when=""):
        self.name, self.log, self.when = name, log, when

    def connect(self):
        if self.when == "connect":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)

    def disconnect(self):
        if self.when == "disconnect":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
        self.log.append(self.name)


def test_a_signal_while_devices_are_connected_lets_all_of_them_go():
    log, stop = [], StopSignals()
    devices = [Part("follower", log), Part("leader", log, when="connect")]
    with pytest.raises(KeyboardInterrupt), stop, connected(*devices, say=lambda text: None, stop=stop):
        log.append("never")
    assert log == ["leader", "follower"]


def test_a_signal_while_devices_are_let_go_waits_until_they_are():
    log, stop = [], StopSignals()
    devices = [Part("follower", log), Part("leader", log, when="disconnect")]
    with stop, connected(*devices, say=lambda text: None, stop=stop):
        pass
    assert (log, stop.asked) == (["leader", "follower"], "SIGTERM")


def test_a_rehearsed_robot_with_a_camera_gone_is_let_go_past_the_guard():
    log = []

    class Guarded(Part):
        def motors_off(self):
            log.append("motors off")

        @functools.wraps(motors_off)
        def disconnect(self):
            raise DeviceNotConnectedError("a camera is gone")

    stop = StopSignals()
    dry = DryRobot(Guarded("arm", log), lambda text: None)
    with stop, connected(dry, say=log.append, stop=stop):
        pass
    assert log == ["motors off", "disconnected: arm"]
