"""A third-party LeRobot teleoperator for tests: a person who folds the shirt, played by the scripted expert."""

from .bench_leader import BenchLeader
from .config_bench_leader import BenchLeaderConfig

__all__ = ["BenchLeader", "BenchLeaderConfig"]
