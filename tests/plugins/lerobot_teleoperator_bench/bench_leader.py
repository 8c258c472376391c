from lerobot.teleoperators import Teleoperator
from lerobot_robot_bench import bench_of

from .config_bench_leader import BenchLeaderConfig


class BenchLeader(Teleoperator):
    config_class = BenchLeaderConfig
    name = "bench_leader"

    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self.arms = bench_of(config.robot)
        self.calls = []
        self._connected, self._seed, self._expert = False, None, None
        self.spoil = lambda action: action

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

    def get_action(self):
        assert self._connected
        bench = self.arms.bench
        if self._seed != self.arms.seed:
            # The scene was reset: the person looks at it anew.
            self._seed, self._expert = self.arms.seed, self.arms.task.make_takeover(bench, self.arms.seed)
        now = bench.observe(draw=False).state if self._expert.done or bench.finished else self._expert.act()
        action = dict(zip(self.action_features, map(float, now), strict=True))
        return self.spoil(action)

    def send_feedback(self, feedback):
        raise NotImplementedError
