"""LeRobot policy class of type `recap_pi05`."""

from __future__ import annotations

from policy.flow.lerobot.policy import Core, FlowPolicy
from policy.models.pi05.configuration_recap_pi05 import RecapPI05Config
from policy.models.pi05.layout import LEROBOT
from policy.models.pi05.network import Pi05Network


class _Core(Core, Pi05Network):
    """Pi05Network as PI05Policy calls it."""


class RecapPI05Policy(FlowPolicy):
    """pi0.5 of any size."""

    config_class = RecapPI05Config
    name = LEROBOT.name
    core = _Core
