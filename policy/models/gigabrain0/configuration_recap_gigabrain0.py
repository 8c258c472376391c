"""LeRobot policy config `recap_gigabrain0`: GigaBrain-0 of any size.

LeRobot finds the policy class and the processors by the naming of this file's siblings (modeling_*, processor_*).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.configs import PreTrainedConfig

from policy.flow.lerobot.config import FlowPolicyConfig
from policy.models.gigabrain0.layout import LEROBOT
from policy.models.gigabrain0.sizes import GigaBrain0Sizes, published


@PreTrainedConfig.register_subclass(LEROBOT.name)
@dataclass
class RecapGigaBrain0Config(FlowPolicyConfig):
    """FlowPolicyConfig of GigaBrain-0."""

    network: GigaBrain0Sizes = field(default_factory=published)
