"""Settings of the ViVa family: what is trained, on what, for how long. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.training.config import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerSizes:
    """Sizes of the Wan video transformer. Its channels are those of the encoder."""

    layers: int = setting(2, minimum=1, help="transformer blocks")
    heads: int = setting(4, minimum=1, help="attention heads")
    head_dim: int = setting(32, minimum=6, help="width of a head; width = heads x head_dim")
    ffn_dim: int = setting(512, minimum=1, help="width inside the feed-forward layers")
    freq_dim: int = setting(64, minimum=2, help="sines and cosines of the noise level")
    patch: int = setting(4, minimum=1, help="latent cells per token, each way (frames are never merged)")
    text_dim: int = setting(32, minimum=1, help="width of a prompt token")
    text_tokens: int = setting(8, minimum=1, help="prompt tokens, zero-padded")

    def __post_init__(self) -> None:
        validate(self)
        if self.head_dim % 2:
            raise ConfigError(
                f"TransformerSizes.head_dim = {self.head_dim}, expected an even number (rotary positions)"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """How a camera image becomes a latent frame [C, H, W]. Never trained together with the transformer."""

    kind: str = setting(
        "linear",
        choices=("linear", "wan_vae"),
        help="linear: principal components of pixel patches; wan_vae: a pretrained AutoencoderKLWan",
    )
    channels: int = setting(8, minimum=1, help="latent channels C; 48 for Wan2.2's autoencoder")
    patch_pixels: int = setting(8, minimum=1, help="image pixels per latent cell, each way; 16 for Wan2.2's")
    folder: str = setting("", content=True, hub="vae", help="wan_vae: folder in diffusers layout, or its name on a hub")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class VivaConfig:
    """Settings of one ViVa training.

    Example:
        >>> VivaConfig().weight_value
        1.0
    """

    transformer: TransformerSizes = field(default_factory=TransformerSizes)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    views: tuple[str, ...] = ()
    """Cameras, in the order of their latent frames; empty for all, in the order of the pack."""
    image_size: tuple[int, int] | None = setting(
        None, minimum=1, later=True, help="(h, w) that pictures are letterboxed to; none: what holds the recorded ones"
    )
    use_future_state: bool = setting(True, help="also denoise the proprioception K steps ahead")
    noise_shift: float = setting(
        1000.0, minimum=1, help="skew of training noise levels towards pure noise; 1: uniform (paper), 5: released code"
    )
    """A value fills a whole frame, so its mean shows through all but nearly pure noise; only the levels above teach the
    network to look, and labelling starts there. A small network has no steps to spend elsewhere."""
    weight_state: float = setting(0.5, minimum=0, help="lambda_prop, weight of the future proprioception's error")
    weight_value: float = setting(1.0, above=0, help="lambda_val, weight of the value's error")
    euler_steps: int = setting(1, minimum=1, help="denoising steps when labelling")
    shift_pixels: int = setting(4, minimum=0, help="random shift of training images, pixels each way (linear encoder)")
    prompt_file: str = setting(
        "", content=True, help="safetensors file of {prompt: [tokens, text_dim]}; empty: hashed words"
    )
    start: str = setting(
        "",
        content=True,
        hub="transformer",
        help="starting weights: a diffusers folder, a ViVa / Wan safetensors file, or their name on a hub; empty: none",
    )
    batch_size: int = setting(32, minimum=1, help="frames per gradient step")
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=1700, learning_rate=3e-3, weight_decay=0.1, ema_decay=0.995)
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.encoder.kind == "wan_vae" and self.shift_pixels:
            raise ConfigError(
                f"VivaConfig.shift_pixels = {self.shift_pixels} with encoder.kind = wan_vae, whose latents are cached: "
                "expected 0"
            )


def small_config(**changes: object) -> VivaConfig:
    """For simulation on one core; `changes` replace fields."""
    return replace(VivaConfig(), **changes)  # type: ignore[arg-type]


def tiny_config(**changes: object) -> VivaConfig:
    """For tests and the `micro` preset: seconds."""
    base = VivaConfig(
        transformer=TransformerSizes(
            layers=1, heads=2, head_dim=12, ffn_dim=48, freq_dim=16, patch=4, text_dim=8, text_tokens=8
        ),
        encoder=EncoderConfig(channels=4),
        shift_pixels=1,
        batch_size=8,
        fit=FitConfig(steps=12, checkpoint_every=4),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def small_preset(*, steps: int) -> VivaConfig:
    """`small_config` trained for so many gradient steps."""
    config = small_config()
    return replace(config, fit=replace(config.fit, steps=steps))


def tiny_preset(*, steps: int) -> VivaConfig:
    """`tiny_config` trained for so many gradient steps."""
    return tiny_config(fit=FitConfig(steps=steps))


def published_preset(*, steps: int) -> VivaConfig:
    """ViVa on Wan2.2-TI2V-5B as its authors train it, less the files to name: start, prompt_file, encoder.folder.

    Cameras are all of the robot's, in its order (theirs: left wrist, right wrist, high).
    """
    return VivaConfig(
        transformer=wan_5b_sizes(),
        encoder=EncoderConfig(kind="wan_vae", channels=48, patch_pixels=16),
        image_size=(384, 320),
        noise_shift=5.0,
        shift_pixels=0,
        batch_size=16,
        fit=FitConfig(steps=steps, learning_rate=4e-5, warmup_steps=500, final_share=0.1, checkpoint_every=1000),
    )


def full_config(vae_folder: str, *, prompt_file: str, start: str, **changes: object) -> VivaConfig:
    """`published_preset` with the files that it needs, and fields to replace.

    Args:
        vae_folder: AutoencoderKLWan of Wan2.2-TI2V-5B.
        prompt_file: UMT5-XXL embeddings of every prompt.
        start: the transformer's published weights.
        changes: fields to replace.
    """
    base = published_preset(steps=45_000)
    files = replace(base, encoder=replace(base.encoder, folder=vae_folder), prompt_file=prompt_file, start=start)
    return replace(files, **changes)  # type: ignore[arg-type]


def wan_5b_sizes() -> TransformerSizes:
    """Sizes of Wan2.2-TI2V-5B: 5.00 billion parameters."""
    return TransformerSizes(
        layers=30, heads=24, head_dim=128, ffn_dim=14336, freq_dim=256, patch=2, text_dim=4096, text_tokens=512
    )
