"""What ViVa cannot take, known from its settings, the prompts and the robot alone: asked before anything is trained.

Torch-free, so that a run can ask before its first step. Training asks the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recap.errors import ConfigError
from recap.specs import RobotSpec
from value_model.models.viva.config import VivaConfig


def image_size(config: VivaConfig, height: int, width: int) -> tuple[int, int]:
    """The smallest (h, w) in whole tokens that holds pictures of a size."""
    token = config.encoder.patch_pixels * config.transformer.patch
    return -(-height // token) * token, -(-width // token) * token


def check(config: VivaConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the model could not be trained for these prompts on this robot."""
    view_positions(robot.camera_names, config.views)
    for prompt in prompts:
        if not config.prompt_file:
            prompt_words(prompt, config.transformer.text_tokens)
    for name, path in (("prompt_file", config.prompt_file), ("encoder.folder", config.encoder.folder)):
        if path and not Path(path).exists():
            raise ConfigError(f"viva: {name} {path} does not exist")
    sizes = [(camera.height, camera.width) for camera in robot.cameras]
    height, width = image_size(config, max(h for h, _ in sizes), max(w for _, w in sizes))
    cells = config.encoder.patch_pixels
    check_cells(config.encoder.channels, height // cells, width // cells, len(robot.state_names))


def check_cells(channels: int, height: int, width: int, state_dim: int) -> None:
    """Raises ConfigError unless a latent frame [C, H, W] has room for a state of `state_dim` numbers."""
    if channels * height * width < state_dim:
        raise ConfigError(
            f"viva: a latent frame of {channels} x {height} x {width} = {channels * height * width} numbers "
            f"cannot hold {state_dim} state dimensions",
            hint="--set value.model.encoder.channels=N   (more of them), or larger pictures",
        )


def prompt_words(prompt: str, tokens: int) -> list[str]:
    """The words of a prompt, one a token; ConfigError if they are more than `tokens`."""
    words = prompt.lower().split()
    if len(words) > tokens:
        raise ConfigError(
            f"viva: prompt {prompt!r} has {len(words)} words, expected at most {tokens}",
            hint=f"--set value.model.transformer.text_tokens={len(words)}   (or a shorter prompt in the task's file)",
        )
    return words


def view_positions(cameras: Sequence[str], views: Sequence[str]) -> list[int]:
    """Where each of `views` stands among `cameras`; all of them for no views.

    Raises:
        ConfigError: a camera is not there.
    """
    missing = sorted(set(views) - set(cameras))
    if missing:
        raise ConfigError(f"viva: views {missing} are not among the cameras {tuple(cameras)}")
    return [cameras.index(view) for view in views or cameras]
