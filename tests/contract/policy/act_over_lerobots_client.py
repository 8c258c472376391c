"""Run in its own process by test_async_inference.py: LeRobot's robot client, with a robot that always sees the same.

Takes the server's address, the exported folder and an observation; prints the commands that it was sent as JSON.
"""

import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lerobot.async_inference.configs import RobotClientConfig
from lerobot.async_inference.robot_client import RobotClient
from lerobot.robots import Robot, RobotConfig
from tests.support.policies import CAMERAS, NAMES

CHUNK, WANTED = 8, 20


@RobotConfig.register_subclass("still")
@dataclass(kw_only=True)
class StillConfig(RobotConfig):
    seen: str = ""


class Still(Robot):
    config_class = StillConfig
    name = "still"

    def __init__(self, config):
        super().__init__(config)
        self.seen, self.sent, self.enough = np.load(config.seen), [], lambda: None

    @property
    def cameras(self):
        return {name: self.seen[name] for name in CAMERAS}

    @property
    def observation_features(self):
        return dict.fromkeys(NAMES, float) | {name: frame.shape for name, frame in self.cameras.items()}

    @property
    def action_features(self):
        return dict.fromkeys(NAMES, float)

    is_connected = is_calibrated = True

    def connect(self, calibrate=True):
        pass

    def disconnect(self):
        pass

    def calibrate(self):
        pass

    def configure(self):
        pass

    def get_observation(self):
        return dict(zip(NAMES, self.seen["state"].tolist(), strict=True)) | self.cameras

    def send_action(self, action):
        self.sent.append([action[name] for name in NAMES])
        if len(self.sent) == WANTED:
            self.enough()
        return action


def main(address: str, folder: str, seen: str) -> None:
    config = RobotClientConfig(
        robot=StillConfig(id="still", seen=seen, calibration_dir=Path(seen).parent), server_address=address,
        policy_type=json.loads((Path(folder) / "config.json").read_text())["type"], pretrained_name_or_path=folder,
        actions_per_chunk=CHUNK, task=str(np.load(seen)["prompt"]), aggregate_fn_name="latest_only", fps=30,
    )  # fmt: skip
    client = RobotClient(config)
    client.robot.enough = client.shutdown_event.set
    assert client.start(), "no server"
    receiver = threading.Thread(target=client.receive_actions, daemon=True)
    receiver.start()
    client.control_loop(config.task)
    sent = client.robot.sent
    client.stop()
    print(json.dumps(sent[:WANTED]))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
