"""A third-party LeRobot robot for tests: the simulated bench, seen through LeRobot's interface and in real time."""

from .bench_arms import WATCHED, BenchArms, bench_of
from .config_bench_arms import BenchArmsConfig

__all__ = ["WATCHED", "BenchArms", "BenchArmsConfig", "bench_of"]
