"""What gymnasium environments that draw with MuJoCo need: start seeds that are obeyed, and pictures that cost little.

As shipped, such environments draw with shadows and four samples a pixel, which without a graphics card costs ten
times the rest. Imported when the first robot is made: it imports gymnasium.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from data.sim.backend import load_mujoco
from recap.types import FrameArray


class PlainPictures(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose `draw` gives plain pictures of one size. Close it: it owns a GL context.

    `model` and `data` get MuJoCo's own from the unwrapped environment; `seed` makes the next start its seed's, where
    the environment's reset does not. Physics that break end in a reward that is no number, whether MuJoCo says so (it
    starts again from its rest state by itself) or the environment raises one of `breaks`.
    """

    def __init__(
        self,
        env: Any,
        size: int,
        *,
        model: Callable[[Any], Any],
        data: Callable[[Any], Any],
        seed: Callable[[Any, int], None] | None = None,
        breaks: tuple[type[Exception], ...] = (),
    ) -> None:
        super().__init__(env)
        self._size, self._model, self._data, self._seed, self._breaks = size, model, data, seed, breaks
        self._renderer: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The start state of `seed`."""
        if seed is not None and self._seed is not None:
            self._seed(self.unwrapped, seed)
        # Seeds are 63 bits; some environments' generators take 32.
        self._last = self.env.reset(seed=None if seed is None else seed % 2**32, options=options)
        self._warned = self._warnings()
        return self._last

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's; the reward is NaN where physics broke."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except self._breaks:
            observation, info = self._last
            return observation, math.nan, True, False, info
        self._last = observation, info
        return observation, math.nan if self._warnings() > self._warned else reward, terminated, truncated, info

    def draw(self, camera: str) -> FrameArray:
        """[size, size, 3] uint8 of a camera of the model, by its name there."""
        if self._renderer is None:
            self._renderer = self._make_renderer()
        self._renderer.update_scene(self._data(self.unwrapped), camera=camera)
        return np.array(self._renderer.render(), dtype=np.uint8)

    def close(self) -> None:
        """Gives the GL context back, and closes the environment."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        super().close()

    def _warnings(self) -> int:
        mujoco = load_mujoco()
        bad = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
        return sum(int(self._data(self.unwrapped).warning[kind].number) for kind in bad)

    def _make_renderer(self) -> Any:
        # Only when somebody looks: attempts without pictures should not pay for a context.
        mujoco, model = load_mujoco(), self._model(self.unwrapped)
        model.vis.quality.offsamples = 0
        renderer = mujoco.Renderer(model, self._size, self._size)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[flag] = 0
        return renderer
