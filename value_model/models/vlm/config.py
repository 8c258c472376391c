"""Settings of the VLM family, and what it cannot take. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.hub import located
from recap.specs import RobotSpec
from recap.training.config import FitConfig
from value_model.views import largest, view_positions

_START = "--set values.vlm.vision_start=DIR --set values.vlm.text_start=DIR --set values.vlm.tokenizer=FILE"


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionSizes:
    """Sizes of the SigLIP vision tower; every view passes through the same one."""

    layers: int = setting(2, minimum=1, help="transformer blocks")
    width: int = setting(96, minimum=1, help="width of an image token")
    heads: int = setting(4, minimum=1, help="attention heads; they divide the width")
    ffn_dim: int = setting(384, minimum=1, help="width inside the feed-forward layers")
    patch: int = setting(16, minimum=1, help="image pixels per token, each way")

    def __post_init__(self) -> None:
        validate(self)
        if self.width % self.heads:
            raise ConfigError(f"VisionSizes.heads = {self.heads}, expected a divisor of width = {self.width}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageSizes:
    """Sizes of the Gemma 3 text model."""

    layers: int = setting(2, minimum=1, help="transformer blocks")
    width: int = setting(128, minimum=1, help="width of a token")
    heads: int = setting(4, minimum=1, help="query heads; they divide the width")
    kv_heads: int = setting(1, minimum=1, help="key and value heads; they divide the query heads")
    head_dim: int = setting(32, minimum=2, help="width of a head")
    ffn_dim: int = setting(352, minimum=1, help="width inside the feed-forward layers")
    vocabulary: int = setting(64, minimum=2, help="rows of the token table; 0 is padding")
    text_tokens: int = setting(8, minimum=1, help="prompt tokens, padded")

    def __post_init__(self) -> None:
        validate(self)
        if self.head_dim % 2:
            raise ConfigError(f"LanguageSizes.head_dim = {self.head_dim}, expected an even number (rotary positions)")
        if self.width % self.heads:
            raise ConfigError(f"LanguageSizes.heads = {self.heads}, expected a divisor of width = {self.width}")
        if self.heads % self.kv_heads:
            raise ConfigError(f"LanguageSizes.kv_heads = {self.kv_heads}, expected a divisor of heads = {self.heads}")


@dataclass(frozen=True, kw_only=True, slots=True)
class VlmConfig:
    """Settings of one VLM training.

    Example:
        >>> VlmConfig().bins
        201
    """

    vision: VisionSizes = field(default_factory=VisionSizes)
    language: LanguageSizes = field(default_factory=LanguageSizes)
    bins: int = setting(201, minimum=2, help="values B on [-1, 0] that are told apart")
    views: tuple[str, ...] = ()
    """Cameras, in the order of their tokens; empty for all, in the order of the pack."""
    image_size: int | None = setting(
        None,
        minimum=1,
        later=True,
        help="side of the square that pictures are letterboxed to; none: what holds the recorded ones",
    )
    vision_start: str = setting(
        "",
        content=True,
        hub=".",
        help="folder of SigLIP's published weights as transformers saves it, or its name on a hub; empty: drawn",
    )
    text_start: str = setting("", content=True, hub=".", help="folder of Gemma 3's published weights, likewise")
    tokenizer: str = setting(
        "", content=True, hub="tokenizer.json", help="tokenizer.json that those of Gemma 3 were trained with, likewise"
    )
    shift_pixels: int = setting(4, minimum=0, help="random shift of training images, pixels each way")
    batch_size: int = setting(32, minimum=1, help="frames per gradient step")
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=1700, learning_rate=1e-3, weight_decay=0.1, ema_decay=0.995)
    )

    def __post_init__(self) -> None:
        validate(self)


def small_config(**changes: object) -> VlmConfig:
    """For simulation on one core, with as many parameters as ViVa's; `changes` replace fields."""
    return replace(VlmConfig(), **changes)  # type: ignore[arg-type]


def tiny_config(**changes: object) -> VlmConfig:
    """For tests and the `micro` preset: seconds."""
    base = VlmConfig(
        vision=VisionSizes(layers=1, width=16, heads=2, ffn_dim=32, patch=16),
        language=LanguageSizes(
            layers=2, width=24, heads=2, kv_heads=1, head_dim=12, ffn_dim=48, vocabulary=32, text_tokens=8
        ),
        shift_pixels=1,
        batch_size=8,
        fit=FitConfig(steps=12, checkpoint_every=4),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


_SO400M = VisionSizes(layers=27, width=1152, heads=16, ffn_dim=4304, patch=14)


def published_preset(*, steps: int) -> VlmConfig:
    """SigLIP So400m and Gemma 3 270M, as the open re-implementations of pi*0.6's value have them; 224 pixels.

    Less the files to name: vision_start, text_start, tokenizer.
    """
    return VlmConfig(
        vision=_SO400M,
        language=LanguageSizes(
            layers=18, width=640, heads=4, kv_heads=1, head_dim=256, ffn_dim=2048, vocabulary=262_144, text_tokens=48
        ),
        image_size=224,
        shift_pixels=0,
        batch_size=16,
        fit=FitConfig(steps=steps, learning_rate=4e-5, warmup_steps=500, final_share=0.1, checkpoint_every=1000),
    )


def full_config(**changes: object) -> VlmConfig:
    """`published_preset`, and fields to replace."""
    return replace(published_preset(steps=45_000), **changes)  # type: ignore[arg-type]


def small_preset(*, steps: int) -> VlmConfig:
    """`small_config` trained for so many gradient steps."""
    config = small_config()
    return replace(config, fit=replace(config.fit, steps=steps))


def tiny_preset(*, steps: int) -> VlmConfig:
    """`tiny_config` trained for so many gradient steps."""
    return tiny_config(fit=FitConfig(steps=steps))


def image_size(config: VlmConfig, height: int, width: int) -> tuple[int, int]:
    """The square that pictures are letterboxed to: of the settings, or the smallest of whole patches that holds them.

    SigLIP's positions are those of a square.
    """
    patch = config.vision.patch
    if config.image_size is not None:
        # Of 384 pixels the published patches of 14 leave six out; check_files asks for the size of the weights.
        if config.image_size % patch and not config.vision_start:
            raise ConfigError(f"vlm: image_size = {config.image_size}, expected a multiple of vision.patch = {patch}")
        return config.image_size, config.image_size
    side = -(-max(height, width) // patch) * patch
    return side, side


def check(config: VlmConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the model could not be trained for these prompts on this robot."""
    view_positions(robot.camera_names, config.views, family="vlm")
    image_size(config, *largest(robot))
    named = {name: getattr(config, name) for name in ("vision_start", "text_start", "tokenizer")}
    if any(named.values()) and not all(named.values()):
        raise ConfigError(
            f"vlm: {', '.join(f'{name} = {path!r}' for name, path in named.items())}: expected all three or none",
            hint=_START,
        )
    if config.vision_start and config.image_size is None:
        raise ConfigError(
            "vlm: image_size is not set, and published weights of SigLIP are for pictures of one size",
            hint="--set values.vlm.image_size=N   (that of their config.json)",
        )
    prompt_tokens(config, prompts)


def check_published(config: VlmConfig) -> None:
    """Raises ConfigError for the published sizes without the weights that they are for."""
    if config.vision == _SO400M and not config.vision_start:
        raise ConfigError(
            "vlm: the published sizes without published weights: nothing learns at that size from scratch", hint=_START
        )


def prompt_tokens(config: VlmConfig, prompts: Iterable[str]) -> list[list[int]]:
    """The tokens of each prompt: those of the weights' tokenizer, or `prompt_numbers`.

    Raises:
        ConfigError: a prompt has too many tokens, the file is no tokenizer or not that of the token table.
    """
    tokens, vocabulary = config.language.text_tokens, config.language.vocabulary
    if not config.tokenizer:
        return prompt_numbers(prompts, tokens=tokens, vocabulary=vocabulary)
    from recap.training.tokenizer import PADDING, opened

    tokenizer = opened(located(config.tokenizer))
    if tokenizer.size != vocabulary:
        raise ConfigError(
            f"vlm: tokenizer {config.tokenizer} has {tokenizer.size} tokens, language.vocabulary is {vocabulary}",
            hint=f"--set values.vlm.language.vocabulary={tokenizer.size}   (or the tokenizer of those weights)",
        )
    texts = list(prompts)
    rows = [[*tokenizer.start, *cut] for cut in tokenizer.encode(texts)]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > tokens:
            raise ConfigError(
                f"vlm: prompt {text!r} takes {len(row)} tokens, expected at most {tokens}",
                hint=f"--set values.vlm.language.text_tokens={len(row)}   (or a shorter prompt in the task's file)",
            )
    return [row + [PADDING] * (tokens - len(row)) for row in rows]


def prompt_numbers(prompts: Iterable[str], *, tokens: int, vocabulary: int) -> list[list[int]]:
    """The tokens of each prompt: each word is the row of the token table that its place among all words gives it.

    Args:
        prompts: every instruction of the training data, in words.
        tokens: length, filled up with 0.
        vocabulary: rows of the table.

    Raises:
        ConfigError: a prompt has too many words, or all of them together do.

    Example:
        >>> prompt_numbers(["fold the shirt", "fold the towel"], tokens=4, vocabulary=8)
        [[1, 3, 2, 0], [1, 3, 4, 0]]
    """
    split = {prompt: prompt.lower().split() for prompt in prompts}
    for prompt, words in split.items():
        if len(words) > tokens:
            raise ConfigError(
                f"vlm: prompt {prompt!r} has {len(words)} words, expected at most {tokens}",
                hint=f"--set values.vlm.language.text_tokens={len(words)}   (or a shorter prompt in the task's file)",
            )
    known = sorted({word for words in split.values() for word in words})
    if len(known) >= vocabulary:
        raise ConfigError(
            f"vlm: the prompts have {len(known)} different words, expected fewer than language.vocabulary {vocabulary}",
            hint=f"--set values.vlm.language.vocabulary={len(known) + 1}",
        )
    number = {word: place + 1 for place, word in enumerate(known)}
    return [[number[word] for word in words] + [0] * (tokens - len(words)) for words in split.values()]
