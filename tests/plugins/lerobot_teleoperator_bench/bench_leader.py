import sys

from lerobot.teleoperators import Teleoperator
from lerobot_robot_bench import WATCHED, bench_of

from data.sim.flaws import FlawConfig

from .config_bench_leader import BenchLeaderConfig

LOOKS_AGAIN = 8
"""Steps after which a person who has done what there was to do gives up: success needs half a second."""


class BenchLeader(Teleoperator):
    config_class = BenchLeaderConfig
    name = "bench_leader"

    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self.arms = bench_of(config.robot)
        self.calls = []
        self._connected, self._seed, self._expert = False, None, None
        self._at = self._milestones = self._idle = 0
        self._helps = self._said = False
        self.spoil = lambda action: action
        self.events = {}

    @property
    def action_features(self):
        return self.arms.action_features

    @property
    def feedback_features(self):
        return {}

    @property
    def is_connected(self):
        return self._connected

    @property
    def is_calibrated(self):
        return True

    def connect(self, calibrate=True):
        self.calls.append("connect")
        if self.config.break_connect:
            raise ConnectionError("no leader")
        self._connected = True

    def disconnect(self):
        self.calls.append("disconnect")
        self._connected = False

    def calibrate(self):
        pass

    def configure(self):
        pass

    def get_teleop_events(self):
        assert self._connected
        return self.events

    def get_action(self):
        assert self._connected
        bench, truth = self.arms.bench, self.arms.bench.truth()
        step = len(truth.progress)
        if self._seed != self.arms.seed or (self.arms.config.watched and step > self._at + 1):
            # The scene was reset, or the policy acted since: the person looks at it anew.
            self._begin(step, truth)
        self._at = step
        now = bench.observe(draw=False).state if self._expert.done or bench.finished else self._expert.act()
        if self.arms.config.watched and not bench.finished:
            self._tell(step, truth)
        action = dict(zip(self.action_features, map(float, now), strict=True))
        return self.spoil(action)

    def send_feedback(self, feedback):
        raise NotImplementedError

    def _begin(self, step, truth):
        task, bench, self._seed = self.arms.task, self.arms.bench, self.arms.seed
        self._helps, self._said, self._idle, self._milestones = step > 0, False, 0, _milestones(truth)
        if self._helps or not self.config.novice:
            self.arms.takeovers += self._helps
            self._expert = task.make_takeover(bench, self._seed)
        else:
            self._expert = task.make_expert(bench, self._seed, FlawConfig())

    def _tell(self, step, truth):
        """Says once when the person lets go, or gives up."""
        latest = self.arms.task.spec.max_steps - WATCHED.hand_back_steps
        self._idle += self._expert.done
        may_go = self._expert.rested and _milestones(truth) > self._milestones and step <= latest
        if self._helps and not self._said and (may_go or self._idle):
            print("bench: goes again", file=sys.stderr, flush=True)
            self.arms.goes_again()
            self._said = True
        elif not self._helps and self._idle == LOOKS_AGAIN:
            print("bench: failure", file=sys.stderr, flush=True)


def _milestones(truth):
    return sum(event.kind > 0 for event in truth.events)
