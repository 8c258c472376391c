"""A tiny gymnasium environment with pixels: a dot that must reach a cross. Third-party code as far as recap knows."""

import gymnasium
import numpy as np


class Reach(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, size=64, render_mode="rgb_array", trap=False, broken=False):
        self.size, self.render_mode, self.trap, self.broken = size, render_mode, trap, broken
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.dot, self.cross = self.np_random.uniform(0.1, 0.9, (2, 2))
        self.first = self._distance()
        self.count = 0
        return self.dot.copy(), {"is_success": False}

    def step(self, action):
        assert self.action_space.contains(action)
        self.count += 1
        move = np.asarray(action, dtype=np.float64) - self.dot
        self.dot = self.dot + move * min(1.0, 0.05 / max(np.linalg.norm(move), 1e-9))
        if self.broken and self.count == 3:
            self.dot[0] = np.nan
        fell = bool(self.trap and self.dot[0] < 0.1)
        return self.dot.copy(), -self._distance(), fell, False, {"is_success": self._distance() < 0.03}

    def render(self):
        rows, columns = np.mgrid[0 : self.size, 0 : self.size] / self.size
        picture = np.zeros((self.size, self.size, 3), np.uint8)
        picture[np.hypot(rows - self.cross[1], columns - self.cross[0]) < 0.05] = (0, 255, 0)
        picture[np.hypot(rows - self.dot[1], columns - self.dot[0]) < 0.05, 0] = 255
        return picture

    def _distance(self):
        return float(np.linalg.norm(self.dot - self.cross))


gymnasium.register("gym_reach/Reach-v0", entry_point="gym_reach:Reach", max_episode_steps=5)
