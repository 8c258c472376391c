"""condition_probe: how far the advantage condition moves a policy, in success and in actions."""

from pipelines.steps.condition_probe.step import condition_probe as condition_probe
