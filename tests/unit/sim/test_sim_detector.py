from dataclasses import replace

import pytest

from data.sim.detector import Detector, Reading
from recap.types import Outcome


def reading(*, good: bool = False, lost: bool = False, part: float = 0.0, progress: float = 0.0) -> Reading:
    return Reading(
        progress=progress,
        stage=0,
        milestones={"part": part > 0.5},
        undone=frozenset({"part"} if part < 0.3 else ()),
        succeeded=good,
        lost=lost,
        metrics={"x": 1.0},
    )


def run(detector: Detector, readings: list[Reading]) -> Detector:
    for item in readings:
        detector.observe(item)
    return detector


def test_success_must_hold() -> None:
    detector = run(Detector(max_steps=50, hold_steps=3), [reading(), *[reading(good=True)] * 2, reading()])
    assert not detector.finished
    run(detector, [reading(good=True)] * 3)
    assert detector.finished
    assert detector.truth().outcome is Outcome.SUCCESS
    assert detector.steps == 6
    assert detector.truth().progress.shape == (6,)


@pytest.mark.parametrize(("steps", "over"), [(9, False), (10, True)])
def test_time_out_is_a_failure_at_exactly_max_steps(steps: int, over: bool) -> None:
    detector = run(Detector(max_steps=10, hold_steps=3), [reading()] * (steps + 1))
    assert detector.finished is over
    assert detector.truth().outcome is Outcome.FAILURE


def test_success_on_the_last_step_counts() -> None:
    detector = run(Detector(max_steps=3, hold_steps=3), [reading(), *[reading(good=True)] * 3])
    assert detector.truth().outcome is Outcome.SUCCESS


def test_lost_object_ends_the_attempt_at_once() -> None:
    detector = run(Detector(max_steps=10, hold_steps=3), [reading(), reading(lost=True)])
    assert detector.truth().outcome is Outcome.FAILURE
    assert [(event.t, event.name, event.kind) for event in detector.truth().events] == [(0, "object_lost", -1)]


def test_broken_physics_aborts() -> None:
    detector = run(Detector(max_steps=10, hold_steps=3), [reading()] * 3)
    detector.abort("unstable_physics")
    assert detector.truth().outcome is Outcome.ABORTED
    assert detector.truth().progress.shape == (3,)


def test_milestones_count_once_until_clearly_undone() -> None:
    parts = [0.0, 0.6, 0.45, 0.6, 0.2, 0.6]
    detector = run(Detector(max_steps=50, hold_steps=3), [reading(part=part) for part in parts])
    assert [(event.t, event.name, event.kind) for event in detector.truth().events] == [
        (0, "part", 1),
        (3, "part_undone", -1),
        (4, "part", 1),
    ]


def test_truth_describes_the_state_before_each_step() -> None:
    detector = run(Detector(max_steps=50, hold_steps=3), [reading(progress=p) for p in (0.0, 0.25, 0.5)])
    assert detector.truth().progress.tolist() == [0.0, 0.25]
    assert detector.truth().metrics["final_progress"] == 0.5


def test_an_error_that_lasts_counts_once_each_time_it_begins() -> None:
    wrong = [False, True, True, False, True]
    readings = [replace(reading(), errors=frozenset({"wrong_order"} if holds else ())) for holds in wrong]
    detector = run(Detector(max_steps=50, hold_steps=3), readings)
    assert [(event.t, event.name, event.kind) for event in detector.truth().events] == [
        (0, "wrong_order", -1),
        (3, "wrong_order", -1),
    ]
