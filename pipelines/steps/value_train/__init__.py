"""value_train: one value model, trained by folds."""

from pipelines.steps.value_train.step import value_train as value_train
