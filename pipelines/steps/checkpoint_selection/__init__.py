"""checkpoint_selection: which of a training's candidates, and how it acts, on VALIDATION starts."""

from pipelines.steps.checkpoint_selection.step import checkpoint_selection as checkpoint_selection
