"""Registers recap's policy type with LeRobot; LeRobot imports this by itself."""

from policy.models.pi05 import lerobot_plugin

__all__ = ["lerobot_plugin"]
