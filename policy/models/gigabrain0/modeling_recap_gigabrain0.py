"""LeRobot policy class of type `recap_gigabrain0`."""

from __future__ import annotations

from policy.flow.lerobot.policy import Core, FlowPolicy
from policy.models.gigabrain0.configuration_recap_gigabrain0 import RecapGigaBrain0Config
from policy.models.gigabrain0.layout import LEROBOT
from policy.models.gigabrain0.network import GigaBrain0Network


class _Core(Core, GigaBrain0Network):
    """GigaBrain0Network as PI05Policy calls it."""


class RecapGigaBrain0Policy(FlowPolicy):
    """GigaBrain-0 of any size."""

    config_class = RecapGigaBrain0Config
    name = LEROBOT.name
    core = _Core
