"""adopt: a policy that lies somewhere, as an artifact."""

from pipelines.steps.adopt.step import adopt as adopt
