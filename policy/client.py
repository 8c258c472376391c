"""Where a policy runs, hidden from whoever acts with it. Here: in this process."""

from __future__ import annotations

from collections.abc import Sequence

from recap.protocols import Policy
from recap.types import FloatArray, Observation


class LocalClient:
    """A `recap.protocols.PolicyClient` over a policy in this process, one observation at a time."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @property
    def policy_id(self) -> str:
        return self._policy.policy_id

    @property
    def execute(self) -> int:
        return self._policy.execute

    def infer(self, observations: Sequence[Observation], seeds: Sequence[int]) -> list[FloatArray]:
        """One [H, A] chunk per observation."""
        return [
            self._policy.act(observation, noise_seed=seed)
            for observation, seed in zip(observations, seeds, strict=True)
        ]
