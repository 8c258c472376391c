"""value_label: values of every frame by one trained value model."""

from pipelines.steps.value_label.step import value_label as value_label
