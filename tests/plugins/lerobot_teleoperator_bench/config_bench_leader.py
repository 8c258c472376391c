from dataclasses import dataclass

from lerobot.teleoperators import TeleoperatorConfig


@TeleoperatorConfig.register_subclass("bench_leader")
@dataclass(kw_only=True)
class BenchLeaderConfig(TeleoperatorConfig):
    robot: str
    """Id of the bench robot that it moves."""
    break_connect: bool = False
