"""policy: trains the policy on experience, by imitation or conditioned on the advantage of every frame."""

from pipelines.steps.policy.step import policy as policy
