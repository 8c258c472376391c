from dataclasses import dataclass, field

from lerobot.robots import RobotConfig


@RobotConfig.register_subclass("bench_arms")
@dataclass(kw_only=True)
class BenchArmsConfig(RobotConfig):
    image_size: int = 16
    renderer: str = "ray"
    announce: list[int] = field(default_factory=list)
    """Steps since the scene was reset that are said on stderr."""
    break_at: int = -1
    """From this step on reads fail."""
    break_reads: int = 0
    """How many reads in a row fail there; 0: all."""
    break_send_at: int = -1
    """Sending this command fails, after it was sent."""
    break_guard: bool = False
    """From the first failing read on it takes itself for not connected, as LeRobot's do when a camera is gone."""
    reports: bool = True
    """It says what it sent."""
    reset_pause_s: float = 0.0
    """After so long without a command a person has put the scene right; 0: a test does."""
    break_connect: bool = False
    break_disconnect: bool = False
    clip: float = 0.0
    """The robot itself moves no joint by more than this per step; 0: it does what it is told."""
    scenes: str = ""
    """File that holds the number of the next scene, also for the next process; "": scenes 0, 1, ... of this one."""
    watched: bool = False
    """It says when the policy goes wrong, as a person beside it would see."""
