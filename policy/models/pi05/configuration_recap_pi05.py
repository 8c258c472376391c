"""LeRobot policy config `recap_pi05`: pi0.5 of any size.

LeRobot finds the policy class and the processors by the naming of this file's siblings (modeling_*, processor_*).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.configs import PreTrainedConfig

from policy.flow.lerobot.config import FlowPolicyConfig
from policy.flow.sizes import NetworkSizes
from policy.models.pi05.layout import LEROBOT
from policy.models.pi05.sizes import full


@PreTrainedConfig.register_subclass(LEROBOT.name)
@dataclass
class RecapPI05Config(FlowPolicyConfig):
    """FlowPolicyConfig of pi0.5."""

    network: NetworkSizes = field(default_factory=full)
