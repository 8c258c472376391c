"""Nights under a real cron daemon: a normal one, one with too few episodes, one killed half-way, and the one after.

The daemon runs in a mount namespace of its own, with a spool, a /run and an /etc/crontab of the test: the crontabs of
this machine are neither read nor written. A night here is a minute of the clock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from runs import TASK
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.episodes import EpisodeStore
from recap.types import Outcome, Source

ROOT = Path(__file__).parents[2]
RUN = f"{TASK}-micro-offline"
CRON = next((path for path in ("/usr/sbin/cron", "/sbin/cron") if Path(path).exists()), None)
FOREIGN = "# of somebody else\n17 3 31 2 * echo never\n"
_NAMESPACE = """
set -e
mount --make-rprivate /
mount --bind {spool} /var/spool/cron/crontabs
mount -t tmpfs none /run
mount --bind {empty} /etc/cron.d
mount --bind {table} /etc/crontab
exec {cron} -f
"""


def _why_not() -> str:
    if CRON is None or shutil.which("crontab") is None:
        return "no cron daemon here: apt-get install cron"
    if os.geteuid() != 0:
        return "a cron daemon with a spool of its own needs root, for the mount namespace"
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"no mount namespace here: {tried.stderr.decode().strip()}"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-"),
]


def record(folder: Path, seeds: range, source: Source = Source.ROLLOUT) -> None:
    store = EpisodeStore(folder)
    for seed in seeds:
        draft = synthetic_draft(seed, length=24, height=64, width=64, source=source)
        store.commit(draft, synthetic_truth(draft, Outcome.FAILURE if seed % 2 else Outcome.SUCCESS))


class Machine:
    """A place with a cron daemon of its own."""

    def __init__(self, folder: Path, daemon: int) -> None:
        self.folder, self._daemon = folder, daemon
        self.workspace = folder / "w"

    def inside(self, *argv: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            ["nsenter", "-t", str(self._daemon), "-m", "--wd=" + str(self.folder), "--", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def recap(self, *arguments: str) -> str:
        return self.inside(sys.executable, "-P", "-m", "cli", *arguments)

    def table(self, text: str | None = None) -> str:
        if text is not None:
            self.inside("crontab", "-", stdin=text)
        return self.inside("crontab", "-l")

    def tonight(self, *more: str) -> None:
        """Schedules the run for the next minute that can still be met."""
        at = datetime.now() + timedelta(seconds=100)
        folders = ("--demos", str(self.folder / "demos"), "--watch", str(self.folder / "watch"))
        small = ("--preset", "micro", "--tracker", "none", "--values", "none", "--collect", "none")
        options = ("--task", TASK, *small, *folders, "--min-new-episodes", "4", "--settle", "0", *more)
        self.recap("schedule", "add", "--at", at.strftime("%H:%M"), *options, "--workspace", str(self.workspace))

    def nights(self) -> list[dict[str, Any]]:
        shown = self.recap("schedule", "history", "--json", "--workspace", str(self.workspace))
        found: list[dict[str, Any]] = json.loads(shown)
        return found

    def after_night(self, number: int) -> dict[str, Any]:
        """The night of that number, once it is over."""
        end = time.monotonic() + 1500
        while time.monotonic() < end:
            time.sleep(5)
            nights = self.nights()
            if len(nights) >= number and nights[number - 1]["state"] != "running":
                return nights[number - 1]
        log = self.workspace / "logs" / f"schedule-{RUN}.log"
        pytest.fail(f"night {number} is not over: {log.read_text() if log.exists() else 'it never began'}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    spool, empty, table = tmp_path / "spool", tmp_path / "empty", tmp_path / "crontab"
    spool.mkdir()
    empty.mkdir()
    table.touch()
    shutil.chown(spool, "root", "crontab")
    spool.chmod(0o1730)
    # pytest keeps others out of its folders; whoever runs jobs here is root.
    script = _NAMESPACE.format(spool=spool, empty=empty, table=table, cron=CRON)
    daemon = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stderr=subprocess.PIPE)
    try:
        time.sleep(2)
        assert daemon.poll() is None, daemon.stderr and daemon.stderr.read()
        yield Machine(tmp_path, daemon.pid)
    finally:
        daemon.terminate()
        daemon.communicate(timeout=30)


def test_three_nights_under_cron_and_the_one_after(machine: Machine) -> None:
    here = subprocess.run(["crontab", "-l"], capture_output=True, check=False)
    record(machine.folder / "demos", range(3), Source.DEMO)
    record(machine.folder / "watch" / "day1", range(100, 104))
    record(machine.folder / "watch" / "day1", range(104, 106), Source.CORRECTION)
    variables = f"PYTHONPATH={ROOT}\nOMP_NUM_THREADS=1\n"
    machine.table(variables + FOREIGN)

    machine.tonight("--notify", 'printf "%s\\n" "$RECAP_STATE" >> told')
    normal = machine.after_night(1)
    assert (normal["state"], normal["exit_code"], normal["found"]["new"]) == ("done", 0, 6), normal
    assert normal["challenger"]
    assert (machine.folder / "told").read_text() == "done\n"
    page = Path(normal["report"]).read_text()
    assert normal["challenger"][:12] in page
    assert "day1" in page
    champion = (machine.workspace / "champions" / f"{RUN}.json").read_bytes()
    assert normal["challenger"] not in champion.decode(), "a night promotes nobody"

    record(machine.folder / "watch" / "day2", range(110, 113))
    machine.tonight()
    few = machine.after_night(2)
    assert (few["state"], few["exit_code"], few["found"]["new"]) == ("too few", 0, 3), few
    assert few["challenger"] == ""

    record(machine.folder / "watch" / "day3", range(120, 122))
    table = machine.table()
    machine.table("RECAP_FAULT=1/policy@train.step:5:kill\n" + table)
    machine.tonight()
    killed = machine.after_night(3)
    assert (killed["state"], killed["ended"]) == ("killed", None), killed

    machine.table(machine.table().replace("RECAP_FAULT=1/policy@train.step:5:kill\n", ""))
    record(machine.folder / "watch" / "day4", range(130, 131))
    machine.tonight()
    after = machine.after_night(4)
    assert after["state"] == "done", after
    assert "went on with the last night" in after["line"]
    assert after["found"]["new"] == 1, "the five of before were trained on first"
    assert after["challenger"] not in ("", normal["challenger"])
    assert (machine.workspace / "champions" / f"{RUN}.json").read_bytes() == champion

    (job,) = json.loads(machine.recap("schedule", "list", "--json"))
    assert job["last"]["began"] == after["began"]
    machine.recap("schedule", "remove", RUN)
    assert machine.table() == variables + FOREIGN
    ids = EpisodeStore(machine.workspace / "nights" / RUN / "intake" / "episodes").ids()
    assert len(ids) == 6 + 3 + 2 + 1
    assert subprocess.run(["crontab", "-l"], capture_output=True, check=False).stdout == here.stdout
