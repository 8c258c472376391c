"""Which episodes label which: cross-fitting by episode.

A value that a model gives to an episode it was trained on has seen the answer. So episodes are cut into folds, and each
fold is labelled by the model that was trained on the others. Owns the cut only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recap.errors import ConfigError
from recap.types import IntArray


def assign_folds(ids: Sequence[str], strata: Sequence[str], folds: int) -> IntArray:
    """[E] fold 0..folds-1 of each episode: whole episodes, each stratum spread evenly.

    Args:
        ids: E episode ids; their order does not matter.
        strata: E names of groups to spread (task, source and outcome), so that no fold lacks the failures of a task.
        folds: number of folds; 1 puts every episode into fold 0 (no cross-fitting).

    Raises:
        ConfigError: fewer episodes than folds.

    Example:
        >>> assign_folds(["b", "a", "d", "c"], ["x", "x", "x", "x"], 2).tolist()
        [1, 0, 1, 0]
    """
    check_folds(len(ids), folds)
    # Ids are hashes of content: their order is as good as a shuffle and the same wherever the episodes lie.
    order = sorted(range(len(ids)), key=lambda e: (strata[e], ids[e]))
    result = np.empty(len(ids), dtype=np.int64)
    result[order] = np.arange(len(ids), dtype=np.int64) % folds
    return result


def check_folds(episodes: int, folds: int) -> None:
    """Raises ConfigError if there are fewer episodes than folds."""
    if folds < 1 or episodes < folds:
        raise ConfigError(
            f"{episodes} episodes in {folds} folds: expected at least one episode a fold",
            hint="--set cross_fit=1   (a model then labels what it has seen), or more episodes",
        )
