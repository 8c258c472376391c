"""What only the Ray executor can do wrong: dead workers, open ports, foreign packages, noise."""

from __future__ import annotations

import ipaddress
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import executor_jobs as jobs
import psutil
import pytest

from pipelines.executors import WorkerDied, session
from recap.errors import ConfigError, StepFailed

pytestmark = pytest.mark.xdist_group("ray")


def _map(executor: Any, work: list[Any], on_result: Callable[[int, Any], None], *, workers: int = 2) -> None:
    executor.map("collector", jobs.make_squarer, (0, ""), work, on_result, num_workers=workers)


def test_a_killed_worker_costs_one_attempt_of_the_job_in_flight(ray_executor: Any) -> None:
    results: dict[int, Any] = {}
    _map(ray_executor, [1, 2], lambda *_: None)
    before = ray_executor.pids()["collector-0"]
    ray_executor.events.clear()

    def kill() -> None:
        time.sleep(0.4)
        os.kill(before, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    _map(ray_executor, [("sleep", "1.0"), ("sleep", "1.0"), 7], lambda i, r: results.__setitem__(i, r))
    killer.join()
    assert sorted(results) == [0, 1, 2]
    assert results[2]["value"] == 49
    assert ray_executor.pids()["collector-0"] != before
    (died,) = [event for event in ray_executor.events if event["kind"] == "worker_died"]
    assert (died["worker"], died["worker_pid"]) == ("collector-0", before)
    assert "collector job" in died["during"]


def test_a_job_that_keeps_killing_its_worker_is_named_with_the_last_words(ray_executor: Any) -> None:
    done: list[int] = []
    with pytest.raises(WorkerDied, match=r"job 1 \(\('die', ''\)\): its worker died 3 times") as caught:
        _map(ray_executor, [2, ("die", ""), 3], lambda i, _: done.append(i), workers=1)
    assert "the gripper caught fire" in str(caught.value)
    assert done == [0]
    _map(ray_executor, [3], lambda i, _: done.append(10 + i))
    assert done == [0, 10]


def test_a_worker_that_dies_once_is_forgiven(ray_executor: Any, tmp_path: Path) -> None:
    results: dict[int, Any] = {}
    _map(ray_executor, [("die-once", str(tmp_path / "m"))], lambda i, r: results.__setitem__(i, r))
    assert results[0]["value"] == -1


def test_a_worker_that_dies_while_it_is_built(ray_executor: Any) -> None:
    with pytest.raises(WorkerDied, match="under construction"):
        ray_executor.map("stillborn", jobs.make_stillborn, (), [1], lambda *_: None, num_workers=1)


def test_a_dead_trainer_goes_on_from_what_it_left_on_disk(ray_executor: Any, tmp_path: Path) -> None:
    answer = ray_executor.call("trainer", jobs.train, (6, str(tmp_path)))
    assert answer["resumed_from"] == 4
    assert answer["pid"] != os.getpid()


def test_an_error_that_cannot_be_pickled_comes_as_its_text(ray_executor: Any) -> None:
    with pytest.raises(StepFailed, match="holds a lambda"):
        _map(ray_executor, [("unpicklable", "")], lambda *_: None)


def test_the_workers_traceback_is_kept(ray_executor: Any) -> None:
    with pytest.raises(ValueError, match="seven") as caught:
        _map(ray_executor, [("value-error", "")], lambda *_: None)
    assert "executor_jobs.py" in str(caught.value.__cause__)


def test_actors_have_names_one_thread_and_processes_of_their_own(ray_executor: Any) -> None:
    import ray

    rows: list[Any] = []
    _map(ray_executor, [1, 2, 3, 4], lambda _, r: rows.append(r))
    assert {row["threads"] for row in rows} == {"1"}
    assert os.getpid() not in {row["pid"] for row in rows}
    names = {entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True)}
    assert {"collector-0", "collector-1"} <= names


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt here, even if a shell started the tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_map_at_once_and_the_pool_recovers(ray_executor: Any) -> None:
    _map(ray_executor, [1], lambda *_: None)
    timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        _map(ray_executor, [("sleep", "60"), ("sleep", "60")], lambda *_: None)
    assert time.monotonic() - began < 10
    rows: list[Any] = []
    _map(ray_executor, [6], lambda _, r: rows.append(r))
    assert rows[0]["value"] == 36


def test_nothing_listens_beyond_loopback(ray_executor: Any) -> None:
    _map(ray_executor, [1, 2], lambda *_: None)
    listening = [
        connection.laddr.ip
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
        for connection in _connections(process)
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 5, "Ray listens somewhere, or this test looks in the wrong place"
    assert [ip for ip in listening if not _is_loopback(ip)] == []


def _connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections("inet"))
    except psutil.NoSuchProcess:
        return []


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    inner = getattr(address, "ipv4_mapped", None)
    return (inner or address).is_loopback


GUEST = """
import sys
sys.path.append({jobs!r})
from pipelines.executors import EXECUTORS, ExecutorSettings
import executor_jobs
executor = EXECUTORS.get("ray")(ExecutorSettings(namespace="guest", address={address!r}))
rows = []
executor.map("collector", executor_jobs.make_squarer, (0, ""), [2, 3], lambda i, row: rows.append(row), num_workers=1)
executor.close()
sys.stdout.write(" ".join(f"{{row['value']}}/{{row['threads']}}" for row in rows))
"""


def test_a_guest_joins_a_cluster_and_leaves_it_running(ray_executor: Any, tmp_path: Path) -> None:
    import ray

    script = tmp_path / "guest.py"
    address = ray.get_runtime_context().gcs_address
    script.write_text(GUEST.format(jobs=str(Path(jobs.__file__).parent), address=address))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "4/1 9/1"), done.stderr
    rows: list[Any] = []
    _map(ray_executor, [6], lambda _, r: rows.append(r))
    assert rows[0]["value"] == 36


def test_the_token_is_ours_alone(ray_executor: Any) -> None:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.parent == session.private_dir()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert os.environ["RAY_AUTH_MODE"] == "token"


DRIVER = """
import os, sys
sys.path.append({jobs!r})
from pipelines.executors import EXECUTORS, ExecutorSettings
import executor_jobs
before = dict(os.environ)
executor = EXECUTORS.get("ray")(ExecutorSettings(num_cpus=1, dashboard=True))
assert "ray" not in sys.modules
executor.map("none", executor_jobs.make_squarer, (0, ""), [], print, num_workers=2)
assert "ray" not in sys.modules
found = executor.call("trainer", executor_jobs.where, (("data", "policy", "cli", "recap"),))
for name, file in found.items():
    sys.stdout.write(f"{{name}} {{file}}\\n")
sys.stdout.write(f"dashboard {{executor.dashboard_url}}\\n")
import psutil
children = psutil.Process().children(recursive=True)
ips = {{c.laddr.ip for p in children for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}}
sys.stdout.write(f"listening {{' '.join(sorted(ips))}}\\n")
executor.close()
assert dict(os.environ) == before
"""


LEFT_OVER = {
    "RAY_ADDRESS": "127.0.0.1:9",  # of a cluster that is gone
    **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9"),
}


def test_workers_find_recap_from_a_hostile_directory(tmp_path: Path) -> None:
    """Foreign packages, a TMPDIR that Ray itself cannot take, and what other tools left in the environment."""
    hostile = tmp_path / "odd ?#% 'x' ü"
    for name in ("policy", "cli", "pipelines"):
        (hostile / name).mkdir(parents=True)
        (hostile / name / "__init__.py").write_text("raise SystemExit('foreign package imported')")
    (hostile / "data.py").write_text("raise SystemExit('foreign data imported')")
    root = Path(session.__file__).parents[2]
    script = tmp_path / "driver.py"  # outside the hostile directory, as an installed command is
    script.write_text(DRIVER.format(jobs=str(Path(jobs.__file__).parent)))
    environment = {**os.environ, **LEFT_OVER, "TMPDIR": str(hostile)}
    done = subprocess.run(
        [sys.executable, "-P", str(script)], cwd=hostile, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert found.pop("dashboard").startswith("http://127.0.0.1:")
    assert all(_is_loopback(ip) for ip in found.pop("listening").split())
    assert {name: Path(file).parent for name, file in found.items()} == {
        name: root / name for name in ("data", "policy", "cli", "recap")
    }
    assert done.stderr == "", "Ray is quiet"


@pytest.mark.parametrize("folder", ["ü", "a b", "x" * 40])
def test_files_of_ray_lie_where_ray_can_take_them(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{folder}")
    assert session._short_base() == Path("/tmp")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="neither"):
        session._short_base()
