"""What sizes a network of a prefix and an action expert has; each family says its own.

Owns the numbers only: building the network is network.py's business. Knows no torch and no LeRobot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from recap.config import setting, validate
from recap.errors import ConfigError

MAX_SLOTS = 64
"""Number slots that have an embedding, the image's own among them."""
MAX_STEPS = 64
"""Action steps that have one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSizes:
    """Sizes of the image tower, the prefix transformer (text) and the action expert.

    Text and expert share depth, heads and head size: layer i of the expert attends to the keys and values of
    layer i of the prefix.

    Example:
        >>> NetworkSizes(vision="conv", conv_tokens=4).tokens_per_view
        4
    """

    vision: str = "siglip"
    """"siglip": the published tower. "conv": a convolutional stem, for training from scratch within minutes."""
    image_size: int = 64
    """Pixels; square."""
    patch_size: int = 16
    """Pixels per patch (siglip), or per cell of the first convolution (conv)."""
    vision_width: int = 128
    """Channels of the image features."""
    vision_depth: int = 2
    """siglip: encoder layers. conv: 3x3 convolutions of stride 2 after the patch convolution."""
    vision_heads: int = 4
    """siglip only."""
    vision_mlp: int = 256
    """siglip: hidden width of its MLP. conv: channels of the patch convolution."""
    conv_tokens: int = 4
    """conv: tokens per camera."""
    cameras: int = 0
    """Cameras the network is built for; 0: as many as the robot has."""
    vocab_size: int = 704
    """Rows of the token embedding."""
    text_width: int = 128
    text_mlp: int = 256
    expert_width: int = 128
    expert_mlp: int = 256
    depth: int = 3
    """Layers of the prefix and of the expert."""
    heads: int = 8
    kv_heads: int = 1
    head_dim: int = 16
    action_dim: int = 0
    """Width of the padded action vector; 0: as many as the robot has."""
    slot_embeddings: bool = True
    """Learned embeddings of image token, number slot and action step, put into the inputs. The published network has
    none (rotary positions only); from scratch they save the minutes it takes to tell one joint from another."""
    condition: str = setting(
        "text", choices=("text", "embedding", "both"), help="where the advantage condition enters: prompt, expert, both"
    )
    """"text": words in the prompt, as pi*0.6. "embedding": a learned vector added to the action expert's time
    condition, which scales, shifts and gates every layer of it; the prompt then carries no words."""

    def __post_init__(self) -> None:
        validate(self)
        if self.vision not in ("siglip", "conv"):
            raise ConfigError(f"NetworkSizes.vision = {self.vision!r}, expected 'siglip' or 'conv'")
        if self.heads % self.kv_heads:
            raise ConfigError(f"NetworkSizes.heads = {self.heads} is not a multiple of kv_heads = {self.kv_heads}")
        if self.head_dim % 2 or self.expert_width % 2:
            raise ConfigError("NetworkSizes.head_dim and expert_width must be even (rotary and sine-cosine pairs)")
        if self.image_size % self.patch_size:
            raise ConfigError(f"NetworkSizes.image_size = {self.image_size} is not a multiple of {self.patch_size}")
        if self.vision == "conv" and (self.image_size // self.patch_size) % (2**self.vision_depth):
            raise ConfigError(
                f"NetworkSizes: a {self.image_size // self.patch_size}-cell grid cannot be halved "
                f"{self.vision_depth} times"
            )

    def of_base(self) -> Self:
        """Sizes of the weights that a training with these starts from.

        They hear no condition, so one base of words serves every way in: an embedding starts at zero.
        """
        return replace(self, condition="text")

    def started_as(self, wanted: Self) -> Self:
        """These sizes, of a base, with what a training from it may have otherwise as `wanted` has it."""
        # A network of words acts the same with an embedding that adds nothing yet.
        return replace(self, condition=wanted.condition) if self.condition == "text" else self

    def words(self, condition: str) -> str:
        """What the prompt says of a condition."""
        return "" if self.condition == "embedding" else condition

    @property
    def tokens_per_view(self) -> int:
        """Image tokens that one camera adds to the prefix."""
        return self.conv_tokens if self.vision == "conv" else (self.image_size // self.patch_size) ** 2
