"""Draws the cameras of a scene with MuJoCo's OpenGL rasteriser, off screen.

Owns a GL context: `close` must be called, or the interpreter prints tracebacks when it ends.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from data.sim.backend import load_mujoco
from recap.specs import CameraSpec
from recap.types import FrameArray


class SceneRenderer(Protocol):
    """Draws one camera of the current simulation state."""

    def draw(self, camera: str) -> FrameArray:
        """[h, w, 3] uint8 RGB."""
        ...

    def close(self) -> None: ...


class GlRenderer:
    """mujoco.Renderer, one context per image size."""

    def __init__(self, model: Any, data: Any, cameras: tuple[CameraSpec, ...]) -> None:
        mujoco = load_mujoco()
        self._data = data
        self._sizes = {camera.name: (camera.height, camera.width) for camera in cameras}
        self._contexts = {size: mujoco.Renderer(model, *size) for size in sorted(set(self._sizes.values()))}
        self._option = mujoco.MjvOption()
        self._option.geomgroup[4] = 0
        self._option.sitegroup[4] = 0
        self._option.flags[mujoco.mjtVisFlag.mjVIS_FLEXSKIN] = 1
        for context in self._contexts.values():
            context.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            context.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def draw(self, camera: str) -> FrameArray:
        """[h, w, 3] uint8 RGB."""
        context = self._contexts[self._sizes[camera]]
        context.update_scene(self._data, camera=camera, scene_option=self._option)
        return np.array(context.render(), dtype=np.uint8)

    def close(self) -> None:
        for context in self._contexts.values():
            context.close()
        self._contexts = {}
