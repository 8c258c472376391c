"""One training on several processes of the Ray executor: joined, ended together, gone on with, on loopback alone."""

from __future__ import annotations

import ipaddress
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import ranked_jobs as jobs
from tests.support.fakes import MemoryJournal
from tests.support.policies import last_candidate

from pipelines.executors import EXECUTORS, ExecutorSettings
from pipelines.ranks import trained
from recap.errors import ConfigError
from recap.hashing import digest_tree
from recap.training.config import RuntimeConfig

pytestmark = pytest.mark.xdist_group("ray")
TWO = RuntimeConfig(processes=2)


def run(executor: Any, function: Any, *args: Any) -> Any:
    return trained(executor, "trainer", function, args, journal=MemoryJournal(), settings=TWO)


@pytest.mark.slow
def test_a_killed_rank_costs_the_steps_since_the_last_checkpoint(ray_executor: Any, tmp_path: Path) -> None:
    whole = run(ray_executor, jobs.train, tmp_path / "whole", 0)
    assert (whole["first"], whole["rank"], whole["world_size"]) == (1, 0, 2)
    before = ray_executor.pids()
    ray_executor.events.clear()
    cut = run(ray_executor, jobs.train, tmp_path / "cut", 5)
    assert cut["first"] == jobs.EVERY + 1  # not from the start
    deaths = [event for event in ray_executor.events if event["kind"] == "worker_died"]
    assert [(event["worker"], event["worker_pid"]) for event in deaths] == [("trainer-1", before["trainer-1"])]
    assert ray_executor.pids()["trainer-0"] != before["trainer-0"]  # it had lost the other in the middle of a step
    assert digest_tree(last_candidate(tmp_path / "cut")) == digest_tree(last_candidate(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "kind"), [(0, "settings"), (1, "disk")])
def test_what_goes_wrong_in_one_rank_ends_all_and_is_the_error(ray_executor: Any, rank: int, kind: str) -> None:
    """And not what the others say of the one that left them."""
    with pytest.raises((ConfigError, OSError), match="no such camera" if kind == "settings" else "no space left"):
        run(ray_executor, jobs.refuse, rank, kind)
    assert not {"trainer-0", "trainer-1"} & set(ray_executor.pids())


@pytest.mark.slow
def test_a_trainer_that_died_while_idle_is_replaced(ray_executor: Any) -> None:
    first = run(ray_executor, jobs.listening)
    pid = ray_executor.pids()["trainer-0"]
    os.kill(pid, signal.SIGKILL)
    assert len(run(ray_executor, jobs.listening)) == len(first)
    assert ray_executor.pids()["trainer-0"] != pid


def test_ranks_listen_on_loopback_alone(ray_executor: Any) -> None:
    found = [ipaddress.ip_address(ip) for ip in run(ray_executor, jobs.listening)]
    inner = [getattr(ip, "ipv4_mapped", None) or ip for ip in found]
    assert len(inner) >= 4
    assert [ip for ip in inner if not ip.is_loopback] == []


def test_the_local_executor_has_one_process() -> None:
    local = EXECUTORS.get("local")(ExecutorSettings())
    with pytest.raises(ConfigError, match=r"runtime.processes = 2 with the executor local(.|\n)*--executor ray"):
        run(local, jobs.listening)
