"""A policy that knows one observation at a time, served all the same: what it does not say, its task's robot says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recap.errors import ConfigError
from recap.protocols import Policy, PolicyFacts
from recap.specs import RobotSpec
from recap.types import FloatArray, Observation


class OneByOne:
    """A ServedPolicy (recap.protocols) that acts as its bundle says and in no other way."""

    def __init__(self, policy: Policy, robot: RobotSpec, prompts: tuple[str, ...]) -> None:
        self._policy = policy
        self.facts = PolicyFacts(
            prompts=prompts,
            cameras=robot.camera_names,
            state_names=robot.state_names,
            action_names=robot.action_names,
            chunk=None,
            conditions=("",),
            condition="",
            guidance=1.0,
        )

    @property
    def policy_id(self) -> str:
        return self._policy.policy_id

    @property
    def execute(self) -> int:
        return self._policy.execute

    def check(self, observation: Observation) -> None:
        """Nothing more than what the facts say: only trying shows the rest."""

    def told(self, condition: str, guidance: float) -> OneByOne:
        """Itself; ConfigError for any other way to act."""
        if condition or guidance != 1.0:
            raise ConfigError(f"a policy that acts in one way only, not with {condition!r} and guidance {guidance:g}")
        return self

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        """Policy.act."""
        return self._policy.act(observation, noise_seed=noise_seed)

    def act_batch(self, observations: Sequence[Observation], *, noise_seeds: Sequence[int]) -> FloatArray:
        """[B, H, A], one after the other."""
        pairs = zip(observations, noise_seeds, strict=True)
        return np.stack([self.act(observation, noise_seed=seed) for observation, seed in pairs])
