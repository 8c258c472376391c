from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.steps.checkpoint_selection.outputs import Candidate
from pipelines.steps.checkpoint_selection.step import _best, _Option
from policy.models import Acting
from recap.errors import ConfigError
from value_model.folds import assign_folds


@given(
    strata=st.lists(st.sampled_from(["demo/success", "demo/failure", "rollout/failure"]), min_size=2, max_size=60),
    folds=st.integers(1, 2),
)
def test_folds_spread_every_stratum_and_do_not_depend_on_order(strata: list[str], folds: int) -> None:
    ids = [f"{place * 7919 % 1009:04d}" for place in range(len(strata))]
    found = assign_folds(ids, strata, folds)
    assert set(found.tolist()) == set(range(folds))
    for stratum in set(strata):
        counts = np.bincount(found[np.array(strata) == stratum], minlength=folds)
        assert counts.max() - counts.min() <= 1
    turned = assign_folds(ids[::-1], strata[::-1], folds)
    assert turned[::-1].tolist() == found.tolist()


def test_fewer_episodes_than_folds_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 episodes in 2 folds"):
        assign_folds(["a"], ["x"], 2)


def _scored(*rows: tuple[int, float, int, int]) -> tuple[list[_Option], dict[str, Candidate]]:
    options = [_Option(step=step, acting=Acting(guidance=beta), path=Path()) for step, beta, _, _ in rows]
    scores = {
        option.name: Candidate(
            name=option.name, step=step, guidance=beta, noise_scale=1.0, attempts=10, successes=won, steps_used=used
        )
        for option, (step, beta, won, used) in zip(options, rows, strict=True)
    }
    return options, scores


def test_most_successes_win_then_speed_then_longer_training_then_the_first() -> None:
    options, scores = _scored((100, 1.0, 5, 900), (200, 1.0, 7, 990), (300, 1.0, 7, 980))
    assert _best(options, scores).step == 300
    options, scores = _scored((100, 1.0, 7, 900), (200, 1.0, 7, 900))
    assert _best(options, scores).step == 200
    options, scores = _scored((200, 1.0, 7, 900), (200, 2.0, 7, 900))
    assert _best(options, scores).acting.guidance == 1.0
