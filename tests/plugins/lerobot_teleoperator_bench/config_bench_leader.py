from dataclasses import dataclass

from lerobot.teleoperators import TeleoperatorConfig


@TeleoperatorConfig.register_subclass("bench_leader")
@dataclass(kw_only=True)
class BenchLeaderConfig(TeleoperatorConfig):
    robot: str
    """Id of the bench robot that it moves."""
    break_connect: bool = False
    novice: bool = False
    """It demonstrates with the flaws of the task's demonstrators; it corrects without."""
