"""What ViVa cannot take, known from its settings, the prompts and the robot alone: asked before anything is trained.

Torch-free, so that a run can ask before its first step. Training asks the same functions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from recap.errors import ConfigError
from recap.hub import located
from recap.specs import RobotSpec
from value_model.models.viva.config import EncoderConfig, VivaConfig, wan_5b_sizes
from value_model.views import largest, view_positions

_ELSEWHERE = {
    "prompt_file": "--set values.viva.prompt_file=PATH",
    "encoder.folder": "--set values.viva.encoder.folder=PATH",
    "start": "--set values.viva.start=PATH",
}


def image_size(config: VivaConfig, height: int, width: int) -> tuple[int, int]:
    """(h, w) that pictures are letterboxed to: of the settings, or the smallest in whole tokens that holds a size."""
    token = config.encoder.patch_pixels * config.transformer.patch
    if config.image_size is not None:
        if any(side % token for side in config.image_size):
            raise ConfigError(f"viva: image_size = {config.image_size}, expected multiples of {token} (one token)")
        return config.image_size
    return -(-height // token) * token, -(-width // token) * token


def check(config: VivaConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the model could not be trained for these prompts on this robot."""
    sizes = config.transformer
    view_positions(robot.camera_names, config.views, family="viva")
    for name, path in (
        ("prompt_file", config.prompt_file),
        ("encoder.folder", config.encoder.folder),
        ("start", config.start),
    ):
        if path and not located(path).exists():
            raise ConfigError(f"viva: {name} {path} does not exist", hint=_ELSEWHERE[name])
    if config.prompt_file:
        check_prompt_file(Path(config.prompt_file), prompts, sizes.text_tokens, sizes.text_dim)
    else:
        for prompt in prompts:
            prompt_words(prompt, sizes.text_tokens)
    check_encoder(config.encoder)
    height, width = image_size(config, *largest(robot))
    cells = config.encoder.patch_pixels
    check_cells(config.encoder.channels, height // cells, width // cells, len(robot.state_names))


def check_published(config: VivaConfig) -> None:
    """Of the published sizes nothing is drawn: weights, the encoder and the embeddings of its prompts are asked for."""
    given = {"encoder.folder": config.encoder.folder or config.encoder.kind == "linear"}
    if config.transformer == wan_5b_sizes():
        given |= {"start": config.start, "prompt_file": config.prompt_file}
    if missing := [name for name, path in given.items() if not path]:
        raise ConfigError(
            f"viva: published weights, and not where they are: {', '.join(missing)}", hint=_ELSEWHERE[missing[0]]
        )


def check_encoder(config: EncoderConfig) -> None:
    """Raises ConfigError if the channels and cells asked for are not those that the encoder can give."""
    if config.folder and config.kind == "linear":
        raise ConfigError(
            f"viva: encoder.folder = {config.folder!r} with encoder.kind = linear, which reads none",
            hint="leave encoder.folder out, or name encoder.kind with it",
        )
    if config.kind == "wan_vae" and not config.folder:  # check_published says so, once nothing but files is missing
        return
    if config.kind == "linear":
        count = 3 * config.patch_pixels**2
        if config.channels > count:
            raise ConfigError(
                f"EncoderConfig.channels = {config.channels} exceeds the {count} numbers of a patch",
                hint=f"--set values.viva.encoder.channels={count}   (or fewer)",
            )
        return
    file = located(config.folder) / "config.json"
    try:
        stored = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"viva: encoder.folder {config.folder}: no AutoencoderKLWan there ({error})") from error
    # What an older config.json leaves out shows when it is loaded.
    channels, cell = stored.get("z_dim"), stored.get("scale_factor_spatial")
    if channels is not None:
        check_channels(channels, config.channels)
    if cell is not None and cell != config.patch_pixels:
        raise ConfigError(
            f"viva: the encoder has latent cells of {cell} pixels, encoder.patch_pixels is {config.patch_pixels}",
            hint=f"--set values.viva.encoder.patch_pixels={cell}",
        )


def check_channels(channels: int, asked: int) -> None:
    """Raises ConfigError unless the encoder has as many channels as asked for."""
    if channels != asked:
        raise ConfigError(
            f"viva: the encoder has {channels} channels, encoder.channels is {asked}",
            hint=f"--set values.viva.encoder.channels={channels}",
        )


def check_cells(channels: int, height: int, width: int, state_dim: int) -> None:
    """Raises ConfigError unless a latent frame [C, H, W] has room for a state of `state_dim` numbers."""
    if channels * height * width < state_dim:
        wanted = -(-state_dim // (height * width))
        raise ConfigError(
            f"viva: a latent frame of {channels} x {height} x {width} = {channels * height * width} numbers "
            f"cannot hold {state_dim} state dimensions",
            hint=f"--set values.viva.encoder.channels={wanted}   (or larger pictures)",
        )


def prompt_words(prompt: str, tokens: int) -> list[str]:
    """The words of a prompt, one a token; ConfigError if they are more than `tokens`."""
    words = prompt.lower().split()
    if len(words) > tokens:
        raise ConfigError(
            f"viva: prompt {prompt!r} has {len(words)} words, expected at most {tokens}",
            hint=f"--set values.viva.transformer.text_tokens={len(words)}   (or a shorter prompt in the task's file)",
        )
    return words


def check_prompt_file(file: Path, prompts: Sequence[str], tokens: int, dim: int) -> None:
    """Raises ConfigError unless the safetensors file holds an embedding [<= tokens, dim] of every prompt."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as stored:
            names = sorted(stored.keys())
            shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names if name in prompts}
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"viva: prompt_file {file}: {error}", hint="--set values.viva.prompt_file=PATH") from error
    for prompt in prompts:
        if prompt not in shapes:
            raise ConfigError(
                f"viva: prompt_file {file} holds no embedding of {prompt!r}, only of {names}",
                hint="embed every task's prompt with UMT5 and save them under the prompt itself",
            )
        shape = shapes[prompt]
        if len(shape) != 2 or shape[0] > tokens or shape[1] != dim:
            raise ConfigError(
                f"viva: prompt_file {file}: {prompt!r} has shape {shape}, expected (<= {tokens}, {dim})",
                hint="--set values.viva.transformer.text_tokens=N --set values.viva.transformer.text_dim=N",
            )
