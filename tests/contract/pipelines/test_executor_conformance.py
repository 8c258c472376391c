"""What every executor promises, checked on each of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import executor_jobs as jobs
import numpy as np
import pytest

from pipelines.executors import EXECUTORS, ExecutorSettings
from recap.errors import ConfigError, RecapError, UnknownName


def _run(executor: Any, *, offset: int = 0, work: Any = range(8), workers: int = 2, diary: str = "") -> dict[int, Any]:
    results: dict[int, Any] = {}

    def keep(index: int, result: Any) -> None:
        assert index not in results, "one result per job"
        results[index] = result

    executor.map("squarer", jobs.make_squarer, (offset, diary), list(work), keep, num_workers=workers)
    return results


def test_every_job_answers_once(executor: Any) -> None:
    results = _run(executor, work=range(9))
    assert {index: row["value"] for index, row in results.items()} == {n: n * n for n in range(9)}


def test_results_may_be_changed_by_who_asked_for_them(executor: Any) -> None:
    row = _run(executor, work=[3])[0]
    row["noise"][0] = 0.0
    assert row["noise"][0] == 0.0


def test_no_jobs_build_no_worker(executor: Any, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    assert _run(executor, work=[], diary=str(diary)) == {}
    assert not diary.exists()


def test_a_worker_serves_the_next_map_and_gives_way_to_another(executor: Any, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    first = _run(executor, offset=1, work=[1], workers=1, diary=str(diary))
    again = _run(executor, offset=1, work=[1], workers=1, diary=str(diary))
    assert (first[0]["nth"], again[0]["nth"]) == (1, 2)
    assert first[0]["pid"] == again[0]["pid"]
    other = _run(executor, offset=2, work=[1], workers=1, diary=str(diary))
    assert other[0]["nth"] == 1
    assert diary.read_text().splitlines() == ["made 1", "closed 1", "made 2"]


def test_an_error_keeps_its_type_and_its_hint(executor: Any) -> None:
    with pytest.raises(ConfigError, match="got -1") as caught:
        _run(executor, work=[("config-error", "")])
    assert caught.value.hint == "recap run --set collect.episodes=1"
    with pytest.raises(ValueError, match="seven"):
        _run(executor, work=[("value-error", "")])
    assert _run(executor, work=[4])[0]["value"] == 16


def test_an_error_is_not_retried_and_stops_the_rest(executor: Any) -> None:
    seen: list[int] = []
    work = [0, 1, ("value-error", ""), *range(3, 60)]
    with pytest.raises(ValueError, match="seven"):
        executor.map("squarer", jobs.make_squarer, (0, ""), work, lambda i, _: seen.append(i), num_workers=1)
    assert seen == [0, 1]


def test_a_worker_that_cannot_be_built_says_why(executor: Any) -> None:
    with pytest.raises(ConfigError, match="cam_low"):
        executor.map("refusing", jobs.make_refusing, (), [1], lambda *_: None, num_workers=1)


def test_an_error_of_the_callback_is_the_callers(executor: Any) -> None:
    def refuse(index: int, result: Any) -> None:
        raise KeyError("disk full")

    with pytest.raises(KeyError, match="disk full"):
        executor.map("squarer", jobs.make_squarer, (0, ""), [1, 2, 3], refuse, num_workers=1)
    assert _run(executor, work=[5])[0]["value"] == 25


def test_call_returns_what_the_function_returns(executor: Any, tmp_path: Path) -> None:
    (tmp_path / "state.txt").write_text("3")
    answer = executor.call("trainer", jobs.train, (5, str(tmp_path)))
    assert (answer["steps"], answer["resumed_from"]) == (5, 3)
    with pytest.raises(ConfigError, match="cam_low"):
        executor.call("trainer", jobs.make_refusing, ())


@pytest.mark.xdist_group("ray")
def test_results_are_equal_wherever_they_are_made(local_executor: Any, ray_executor: Any) -> None:
    here, there = _run(local_executor, work=range(20)), _run(ray_executor, work=range(20))
    assert here.keys() == there.keys()
    for index, row in here.items():
        assert row["value"] == there[index]["value"]
        np.testing.assert_array_equal(row["noise"], there[index]["noise"])


def test_an_unknown_executor_answers_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'ray'"):
        EXECUTORS.get("rai")
    assert EXECUTORS.names() == ["local", "ray"]


def test_settings_and_errors_travel() -> None:
    assert pickle.loads(pickle.dumps(ExecutorSettings(namespace="n"))).namespace == "n"
    assert isinstance(pickle.loads(pickle.dumps(ConfigError("a", hint="b"))), RecapError)
