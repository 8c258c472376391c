"""label_unseen: values of episodes of a task that a model was not trained on."""

from pipelines.steps.label_unseen.step import label_unseen as label_unseen
