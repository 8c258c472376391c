"""What the LeRobot policy configs of recap share: pi0.5's with every size written down. Nothing need be patched."""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.policies.pi05.configuration_pi05 import PI05Config

from policy.conditioning import code_of
from policy.flow.sizes import NetworkSizes


@dataclass
class FlowPolicyConfig(PI05Config):
    """PI05Config whose network sizes are `network`; LeRobot's two variant names are not read. A type subclasses it."""

    network: NetworkSizes = field(default_factory=NetworkSizes)
    condition: str = ""
    """Words of the advantage condition that the policy acts by; "": none. As `network.condition` says, the preprocessor
    writes them into every prompt, the network adds their embedding to its time condition, or both."""
    guidance: float = 1.0
    """beta of the mixed flow when acting; 1 is the conditioned flow alone. LeRobot's training call does not read it."""

    noise_scale: float = 1.0
    """Factor on the noise that the flow starts from when acting. LeRobot's training call does not read it."""

    prompt_tails: list[list[int]] | None = None
    """Tokens that end a prompt with the condition, and without: of another tokenizer than the local one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guidance != 1.0 and not self.condition:
            raise ValueError(f"guidance {self.guidance} without condition: there are no two flows to mix, expected 1.0")
        if self.network.condition != "text":
            code_of(self.condition)
        if self.network.action_dim != self.max_action_dim:
            raise ValueError(
                f"network.action_dim {self.network.action_dim} is not max_action_dim {self.max_action_dim}"
            )
        if tuple(self.image_resolution) != (self.network.image_size, self.network.image_size):
            raise ValueError(
                f"image_resolution {self.image_resolution} is not network.image_size {self.network.image_size}"
            )
