"""Registers recap's policy types with LeRobot; LeRobot imports this by itself."""

from policy.models.gigabrain0 import lerobot_plugin as gigabrain0
from policy.models.pi05 import lerobot_plugin as pi05

__all__ = ["gigabrain0", "pi05"]
