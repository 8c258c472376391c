"""Which sample hears which condition: labels, dropout and their draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from data.batches import Batch
from policy.conditioning import NEGATIVE, POSITIVE, TEXTS, Condition, ConditionedBatches
from recap.errors import ConfigError

ROWS = 40


class Rows:
    """Batches of eight rows, as data.batches makes them: a Mapping with fields."""

    def batch(self, step: int) -> Batch:
        index = np.random.default_rng(step).permutation(ROWS)[:8]
        return Batch(
            images=np.zeros((8, 1, 2, 2, 3), np.uint8),
            state=np.zeros((8, 3), np.float32),
            action=np.zeros((8, 2, 3), np.float32),
            action_is_pad=np.zeros((8, 2), np.bool_),
            episode=np.zeros(8, np.int64),
            frame=index,
            index=index,
        )


POSITIVES = np.arange(ROWS) % 3 == 0


def conditions(source: ConditionedBatches, steps: range) -> Any:
    return np.stack([source.batch(step)["condition"] for step in steps])


def test_words_are_those_of_the_codes() -> None:
    assert (TEXTS[Condition.NONE], TEXTS[Condition.POSITIVE], TEXTS[Condition.NEGATIVE]) == ("", POSITIVE, NEGATIVE)
    assert (POSITIVE, NEGATIVE) == ("Advantage: positive", "Advantage: negative")


def test_every_sample_has_the_condition_of_its_row_or_none() -> None:
    source = ConditionedBatches(Rows(), POSITIVES, seed=3)
    for step in range(50):
        batch = source.batch(step)
        assert batch["condition"].dtype == np.int8
        expected = np.where(POSITIVES[batch["index"]], Condition.POSITIVE, Condition.NEGATIVE)
        assert np.all((batch["condition"] == expected) | (batch["condition"] == Condition.NONE))
        np.testing.assert_array_equal(batch["images"], Rows().batch(step).images)


@pytest.mark.parametrize("dropout", [0.1, 0.3, 0.8])
def test_the_share_without_condition_is_the_dropout(dropout: float) -> None:
    dropped = conditions(ConditionedBatches(Rows(), POSITIVES, dropout=dropout, seed=1), range(2000)) == Condition.NONE
    # Five standard deviations of a binomial share: a right draw fails once in two million.
    bound = 5 * math.sqrt(dropout * (1 - dropout) / dropped.size)
    assert abs(dropped.mean() - dropout) < bound
    per_place = dropped.mean(0)
    assert np.all(abs(per_place - dropout) < 5 * math.sqrt(dropout * (1 - dropout) / len(dropped)))


def test_dropout_does_not_look_at_the_label() -> None:
    source = ConditionedBatches(Rows(), POSITIVES, seed=2)
    hits = {True: [0, 0], False: [0, 0]}
    for step in range(2000):
        batch = source.batch(step)
        for label in hits:
            chosen = batch["condition"][POSITIVES[batch["index"]] == label]
            hits[label][0] += int((chosen == Condition.NONE).sum())
            hits[label][1] += len(chosen)
    shares = [none / count for none, count in hits.values()]
    assert abs(shares[0] - shares[1]) < 5 * math.sqrt(0.21 / hits[True][1] + 0.21 / hits[False][1])


def test_conditions_are_a_function_of_seed_and_step_alone() -> None:
    source = ConditionedBatches(Rows(), POSITIVES, seed=5)
    forwards = conditions(source, range(20))
    again = ConditionedBatches(Rows(), POSITIVES, seed=5)
    backwards = np.stack([again.batch(step)["condition"] for step in reversed(range(20))])[::-1]
    np.testing.assert_array_equal(forwards, backwards)
    np.testing.assert_array_equal(forwards[13], ConditionedBatches(Rows(), POSITIVES, seed=5).batch(13)["condition"])
    other = conditions(ConditionedBatches(Rows(), POSITIVES, seed=6), range(20))
    assert (forwards != other).mean() > 0.2
    none = forwards == Condition.NONE
    assert len({row.tobytes() for row in none}) >= 10  # steps draw apart; patterns of eight bits repeat at times


def test_dropout_one_and_zero_are_exact() -> None:
    assert np.all(conditions(ConditionedBatches(Rows(), POSITIVES, dropout=1.0, seed=0), range(200)) == Condition.NONE)
    assert np.all(conditions(ConditionedBatches(Rows(), None, dropout=0.0, seed=0), range(200)) == Condition.POSITIVE)


def test_without_labels_all_are_positive_and_need_no_index() -> None:
    class Plain:
        def batch(self, step: int) -> dict[str, Any]:
            return {"state": np.zeros((6, 2), np.float32)}

    batches = ConditionedBatches(Plain(), None, seed=0)
    seen = {int(code) for step in range(50) for code in batches.batch(step)["condition"]}
    assert seen == {Condition.NONE, Condition.POSITIVE}
    with pytest.raises(ConfigError, match='without "index"'):
        ConditionedBatches(Plain(), POSITIVES, seed=0).batch(0)


def test_identity_moves_with_everything_that_moves_a_condition() -> None:
    base = ConditionedBatches(Rows(), POSITIVES, seed=0).identity
    assert base == ConditionedBatches(Rows(), POSITIVES.copy(), dropout=0.3, seed=0).identity
    flipped = POSITIVES.copy()
    flipped[7] = not flipped[7]
    others = (
        ConditionedBatches(Rows(), flipped, seed=0),
        ConditionedBatches(Rows(), None, seed=0),
        ConditionedBatches(Rows(), POSITIVES, seed=1),
        ConditionedBatches(Rows(), POSITIVES, dropout=0.31, seed=0),
    )
    assert len({base, *(other.identity for other in others)}) == 5


def test_labels_of_other_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="but 10 labels"):
        ConditionedBatches(Rows(), POSITIVES[:10], seed=0).batch(0)
    with pytest.raises(ConfigError, match=r"type int64, expected \[N\] bool"):
        ConditionedBatches(Rows(), POSITIVES.astype(np.int64), seed=0)
    with pytest.raises(ConfigError, match=r"dropout 1\.5"):
        ConditionedBatches(Rows(), POSITIVES, dropout=1.5, seed=0)
