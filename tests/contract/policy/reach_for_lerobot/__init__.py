"""tests/plugins/gym_reach as an environment of LeRobot's: `--env.discover_packages_path=reach_for_lerobot`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gym_reach  # noqa: F401 - registers Reach-v0
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs import EnvConfig

LIMIT = 12


class Seen(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The dot's place and the picture under the names that LeRobot looks for, and what it is told to do."""

    task = task_description = "reach the cross"
    _max_episode_steps = LIMIT

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        view = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(
            {"pixels": gymnasium.spaces.Dict({"cam_high": view}), "agent_pos": env.observation_space}
        )

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.acted = 0
        state, info = self.env.reset(**kwargs)
        return self._seen(state), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.acted += 1
        state, reward, done, _, info = self.env.step(np.clip(action, 0, 1).astype(np.float32))
        return self._seen(state), float(reward), done or info["is_success"], self.acted >= LIMIT, info

    def _seen(self, state: Any) -> dict[str, Any]:
        return {"pixels": {"cam_high": self.env.render()}, "agent_pos": state}


@EnvConfig.register_subclass("reach")
@dataclass
class ReachEnv(EnvConfig):
    """One environment of it."""

    fps: int = 10
    features: dict[str, PolicyFeature] = field(
        default_factory=lambda: {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=(2,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(2,)),
            "pixels/cam_high": PolicyFeature(type=FeatureType.VISUAL, shape=(64, 64, 3)),
        }
    )
    features_map: dict[str, str] = field(
        default_factory=lambda: {
            "action": "action",
            "agent_pos": "observation.state",
            "pixels/cam_high": "observation.images.cam_high",
        }
    )

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {}

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> Any:
        def make() -> Any:
            return Seen(gymnasium.make("gym_reach/Reach-v0", max_episode_steps=LIMIT + 1))

        return {"reach": {0: SyncVectorEnv([make] * n_envs, autoreset_mode=AutoresetMode.SAME_STEP)}}
