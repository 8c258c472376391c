"""Training a VLM value model from experience to a bundle on disk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.errors import ConfigError
from value_model.direct import train_direct
from value_model.models import ValueData, training_rows
from value_model.models.vlm.config import VlmConfig
from value_model.models.vlm.weights import starting


def train(config: VlmConfig, data: ValueData, episodes: NDArray[np.integer[Any]], **given: Any) -> dict[str, float]:
    """See ValueFamily.train and `train_direct`.

    Raises:
        ConfigError: also for a return outside [-1, 0], which no bin stands for.
    """
    returns = data.returns[training_rows(data, episodes, "vlm")]
    if returns.min() < -1 or returns.max() > 0:
        raise ConfigError(f"vlm: returns from {returns.min()} to {returns.max()}, expected within [-1, 0]")
    return train_direct("vlm", starting, config, data, episodes, **given)
