"""evaluate: how often, and how fast, a policy succeeds from starts that nothing was tuned on."""

from pipelines.steps.evaluate.step import evaluate as evaluate
