"""record: experience to learn from. Demonstrations, a policy's own attempts, or episodes recorded elsewhere."""

from pipelines.steps.record.step import record as record
