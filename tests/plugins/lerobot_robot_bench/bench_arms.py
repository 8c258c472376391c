import sys
import time
from pathlib import Path

import numpy as np
from lerobot.robots import Robot
from lerobot.utils.decorators import check_if_not_connected

from data.corrections import CorrectionConfig, Supervisor
from data.tasks import TASKS

from .config_bench_arms import BenchArmsConfig

BENCHES = {}
WATCHED = CorrectionConfig()
"""When the person beside it takes over and lets go, as the simulated supervisor does."""


def bench_of(name):
    """The robot of that id in this process."""
    return BENCHES[name]


class BenchArms(Robot):
    config_class = BenchArmsConfig
    name = "bench_arms"

    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self.task = TASKS.get("shirt_folding")
        self.bench = self.task.make_env(config.renderer, config.image_size)
        self.calls, self.log = [], []
        self.asked, self.received = [], []
        self.on_step = lambda step: None
        self.seed, self._connected = -1, False
        BENCHES[config.id] = self
        self.reset_scene()

    def reset_scene(self):
        """What a person does between two attempts."""
        if self.config.scenes:
            told = Path(self.config.scenes)
            self.seed = int(told.read_text()) if told.exists() else 0
            told.write_text(str(self.seed + 1))
        else:
            self.seed += 1
        self.bench.reset(self.seed)
        self._supervisor = Supervisor(WATCHED)
        self.takeovers, self._alarmed = 0, False
        self.goes_again()
        self.moved = time.monotonic()
        self.reads = self.failed = 0

    def goes_again(self):
        """What happened so far is forgiven."""
        self._alarmed = False
        self._supervisor.start(self.bench.truth())

    def _watch(self):
        if not self.config.watched or self._alarmed or self.takeovers >= WATCHED.max_takeovers:
            return
        if self._supervisor.watch(self.bench.truth()) is not None:
            self._alarmed = True
            print("bench: goes wrong", file=sys.stderr, flush=True)

    @property
    def observation_features(self):
        size = self.config.image_size
        return {f"{name}.pos": float for name in self.bench.spec.state_names} | {
            name.removeprefix("cam_"): (size, size, 3) for name in self.bench.spec.camera_names
        }

    @property
    def action_features(self):
        return {f"{name}.pos": float for name in self.bench.spec.action_names}

    @property
    def is_connected(self):
        return self._connected and not (self.config.break_guard and self.failed)

    @property
    def is_calibrated(self):
        return True

    def connect(self, calibrate=True):
        self.calls.append("connect")
        if self.config.break_connect:
            raise ConnectionError("no such port")
        self._connected = True

    @check_if_not_connected
    def disconnect(self):
        self.calls.append("disconnect")
        if self.config.break_disconnect:
            raise OSError("bus busy")
        print("bench: disconnected", file=sys.stderr, flush=True)
        self._connected = False

    def calibrate(self):
        pass

    def configure(self):
        pass

    def get_observation(self):
        assert self._connected
        if 0 < self.config.reset_pause_s < time.monotonic() - self.moved:
            self.reset_scene()
        step = self.reads
        if step in self.config.announce:
            print(f"bench: step {step}", file=sys.stderr, flush=True)
        self.on_step(step)
        if 0 <= self.config.break_at <= step and (not self.config.break_reads or self.failed < self.config.break_reads):
            self.failed += 1
            raise ConnectionError("motor 3 does not answer")
        self.reads += 1
        state = dict(zip(self.bench.spec.state_names, self.bench.observe(draw=False).state.tolist(), strict=True))
        frames = {name.removeprefix("cam_"): frame for name, frame in self.bench.observe().frames.items()}
        return {f"{name}.pos": value for name, value in state.items()} | frames

    def send_action(self, action):
        assert self._connected
        command = np.array([action[f"{name}.pos"] for name in self.bench.spec.action_names], dtype=np.float32)
        self.asked.append(command)
        self.moved = time.monotonic()
        if self.config.clip:
            now = self.bench.observe(draw=False).state
            command = now + np.clip(command - now, -self.config.clip, self.config.clip)
        self.received.append(command)
        if len(self.received) - 1 == self.config.break_send_at:
            raise ConnectionError("no answer to the command")
        if not self.bench.finished:
            self.bench.step(command)
            self._watch()
            if self.bench.finished:
                print(f"bench: {self.bench.truth().outcome.value}", file=sys.stderr, flush=True)
        sent = {f"{name}.pos": float(v) for name, v in zip(self.bench.spec.action_names, command, strict=True)}
        return sent if self.config.reports else None
