"""annotate: what a person, an importer or the task detector says of every episode."""

from pipelines.steps.annotate.step import annotate as annotate
