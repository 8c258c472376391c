from dataclasses import dataclass, field

from lerobot.robots import RobotConfig


@RobotConfig.register_subclass("bench_arms")
@dataclass(kw_only=True)
class BenchArmsConfig(RobotConfig):
    image_size: int = 16
    announce: list[int] = field(default_factory=list)
    """Steps since the scene was reset that are said on stderr."""
    break_at: int = -1
    """The read of this step fails."""
    break_connect: bool = False
    break_disconnect: bool = False
    clip: float = 0.0
    """The robot itself moves no joint by more than this per step; 0: it does what it is told."""
