"""advantage: from values to labels."""

from pipelines.steps.advantage.step import advantage as advantage
