"""The bench robot and its teleoperator as installed plug-ins, and an operator who types at given moments."""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from data.robots.device import connected
from data.robots.keyboard import TerminalKeys
from data.robots.lerobot_config import load_robot, load_teleoperator
from data.robots.lerobot_robot import LeRobotRobot, Teleoperator
from data.robots.recording import RecordingSetup
from data.robots.session import Count, RecordingSession
from data.robots.signals import StopSignals
from data.tasks import TASKS
from policy.client import LocalClient

PLUGINS = Path(__file__).parent
JOINTS = ("waist", "shoulder", "elbow", "wrist_pitch", "wrist_yaw", "wrist_roll")
_DISTRIBUTIONS = {
    "lerobot_robot_bench": "[recap.tasks]\nbench_folding = lerobot_robot_bench.task\n"
    "[recap.policies]\nhold_still = lerobot_robot_bench.task\n",
    "lerobot_teleoperator_bench": "",
    "gym_reach": "[recap.tasks]\ngym_reach = gym_reach.task\n",
}


def install(folder: Path) -> Path:
    """A folder for the path in which both plug-ins are installed distributions, as pip would leave them."""
    folder.mkdir(exist_ok=True)
    for name, entry_points in _DISTRIBUTIONS.items():
        info = folder / f"{name}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(entry_points)
        (folder / name).symlink_to(PLUGINS / name)
    return folder


def register(folder: Path) -> None:
    """Makes the plug-ins of `folder` known in this process."""
    TASKS.names()  # what is built in first: the entry points below are for processes of their own
    sys.path.insert(0, str(folder))
    if "bench_folding" not in TASKS.names():
        # They register themselves.
        import gym_reach.task  # noqa: F401
        import lerobot_robot_bench.task  # noqa: F401


def unregister(folder: Path) -> None:
    """Leaves no task behind for other tests to stumble over."""
    sys.path.remove(str(folder))


def robot_file(folder: Path, name: str = "robot.json", *, setup: dict | None = None, **fields) -> Path:
    channels = TASKS.get("shirt_folding").robot.action_names
    limits = {channel: [-0.05, 1.05] if channel.endswith("grip") else [-3.2, 3.2] for channel in channels}
    recap = {
        "limits": limits,
        "cameras": {camera: camera.removeprefix("cam_") for camera in TASKS.get("shirt_folding").robot.camera_names},
        "handover_s": 0.05,
    }
    values = {"type": "bench_arms", "id": "test", "calibration_dir": str(folder / "calibration")}
    path = folder / name
    path.write_text(json.dumps(values | fields | {"recap": recap | (setup or {})}))
    return path


def leader_file(folder: Path, **fields) -> Path:
    path = folder / "leader.json"
    values = {"type": "bench_leader", "id": "test", "calibration_dir": str(folder / "calibration"), "robot": "test"}
    path.write_text(json.dumps(values | fields))
    return path


class Operator:
    """Types `during[attempt][step]` at that step and `between[n]` at the n-th wait; resets the scene before Enter."""

    def __init__(self, arms, master, *, between, during=()):
        self.arms, self.master = arms, master
        self.between, self.during = list(between), list(during)
        self.heard, self.attempt = [], -1
        arms.on_step = self.on_step

    def on_step(self, step):
        if 0 <= self.attempt < len(self.during) and step in self.during[self.attempt]:
            action = self.during[self.attempt][step]
            action() if callable(action) else os.write(self.master, action)

    def say(self, text):
        self.heard.append(text)
        if "recorded. " in text:
            keys = self.between.pop(0)
            if keys.endswith(b"\r") and "Enter starts" in text:
                self.attempt += 1
                self.arms.reset_scene()
            os.write(self.master, keys)


class Recording:
    """A session in this process over the bench robot, at a pseudo-terminal."""

    def __init__(self, folder: Path, *, teleop=True, policy=None, setup=None, leader=None, **robot):
        self.device, loaded = load_robot(robot_file(folder, setup=setup, **robot))
        task = TASKS.get("bench_folding")
        self.robot = LeRobotRobot(self.device, task.robot, loaded, rate_hz=task.spec.rate_hz, prompt=task.spec.prompt)
        teleoperator = load_teleoperator(leader_file(folder, **(leader or {}))) if teleop else None
        self.leader = (
            None if teleoperator is None else Teleoperator(teleoperator, self.robot, rate_hz=task.spec.rate_hz)
        )
        client = None if policy is None else LocalClient(policy)
        self.setup = RecordingSetup(task=task, robot=self.robot, teleoperator=self.leader, policy=client)
        self.store, self.book = EpisodeStore(folder / "episodes"), LabelBook(folder / "labels")
        self.stop = StopSignals()
        self.session = None
        self.operator = None

    def run(self, *, between, during=(), episodes=1):
        """Runs the session to its end; returns the summary. The terminal must be as it was."""
        with terminal() as (master, slave):
            self.operator = Operator(self.device, master, between=between, during=during)
            keys = TerminalKeys(slave)
            self.session = RecordingSession(
                self.setup,
                self.store,
                self.book,
                Count(episodes, self.setup.policy),
                by="ada",
                keys=keys,
                stop=self.stop,
                say=self.operator.say,
            )
            devices = [self.device, *([self.leader.device] if self.leader is not None else [])]
            with self.stop, connected(*devices, say=self.operator.say, stop=self.stop), keys:
                self.session.run()
        return self.session.summary()

    def only(self):
        """The one episode of the store."""
        (episode_id,) = self.store.ids()
        return self.store.load(episode_id)

    def label(self, episode_id):
        return self.book.annotations("human").get(episode_id)


@contextmanager
def terminal():
    master, slave = os.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)
