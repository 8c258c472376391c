"""`recap schedule` against a `crontab` program on PATH, and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from pipelines.invocation import Invocation
from pipelines.schedule import jobs, timers
from pipelines.schedule.history import History
from pipelines.schedule.request import NightRequest
from recap.workspace import Workspace

FAKE = """#!/bin/sh
# Keeps the table in a file, and refuses what the file "refuse" says.
here=$(dirname "$0")
echo "$1" >> "$here/calls"
if [ -e "$here/refuse" ] && [ "$(cat "$here/refuse")" = "$1" ]; then echo "not allowed" >&2; exit 1; fi
case "$1" in
  -l) if [ -e "$here/table" ]; then cat "$here/table"; else echo "no crontab for tester" >&2; exit 1; fi ;;
  -) cat > "$here/table" ;;
  *) exit 64 ;;
esac
"""


@dataclass
class Machine:
    """A directory to work in and a PATH, with or without `crontab`."""

    folder: Path
    bin: Path

    def recap(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", "schedule", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{self.bin}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def table(self) -> Path:
        return self.bin / "table"

    def calls(self) -> list[str]:
        return (self.bin / "calls").read_text().split()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "here", tmp_path / "bin")
    made.folder.mkdir()
    made.bin.mkdir()
    (made.bin / "crontab").write_text(FAKE)
    (made.bin / "crontab").chmod(0o755)
    return made


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "here", tmp_path / "bin")
    made.folder.mkdir()
    made.bin.mkdir()
    if any((Path(folder) / "crontab").exists() for folder in ("/usr/bin", "/bin")):
        pytest.skip("this machine has a crontab program of its own")
    return made


ADD = ("add", "--at", "02:00", "--task", "shirt_folding", "--preset", "micro")


def test_a_run_is_scheduled_listed_and_taken_off_again(machine: Machine) -> None:
    machine.table.write_bytes(b"# na\xefve\n0 1 * * * mine")
    added = machine.recap(*ADD, "--set", "policy.model.fit.steps=7")
    assert added.returncode == 0, added.stderr
    text = machine.table.read_bytes().decode(errors="surrogateescape")
    assert text.startswith("# na\udcefve\n0 1 * * * mine\n# >>> recap schedule ")
    line = text.splitlines()[3]
    assert line.startswith("0 * * * * (cd ")
    assert f"{sys.executable} -P -m cli night --at 02:00 --task shirt_folding --preset micro" in line
    assert f"--workspace {machine.folder / 'runs'})" in line
    assert "--set policy.model.fit.steps=7" in line
    assert "tried again every hour" in added.stdout
    assert (machine.folder / "runs" / "logs").is_dir()

    again = machine.recap(*ADD, "--set", "policy.model.fit.steps=7")
    assert again.returncode == 0
    assert machine.table.read_bytes().decode(errors="surrogateescape") == text
    assert machine.calls().count("-") == 1, "the same job again must not write"

    (job,) = json.loads(machine.recap("list", "--json").stdout)
    assert (job["name"], job["at"]) == ("shirt_folding-micro", "02:00")
    assert job["workspace"] == str(machine.folder / "runs")
    shown = machine.recap("list").stdout
    assert "02:00  shirt_folding-micro" in shown
    assert "recap night --task shirt_folding --preset micro" in shown
    assert "last    no night yet" in shown
    assert datetime.fromisoformat(job["next"]) > datetime.now()

    removed = machine.recap("remove", "shirt_folding-micro")
    assert removed.returncode == 0, removed.stderr
    assert machine.table.read_bytes() == b"# na\xefve\n0 1 * * * mine\n"
    assert "nothing is scheduled" in machine.recap("list").stdout


def test_a_run_is_scheduled_by_one_scheduler_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = [""]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, fake in {
        "has_crontab": lambda: True,
        "has_systemd": lambda: True,
        "read_crontab": lambda: table[0],
        "install_crontab": lambda text: table.__setitem__(0, text),
    }.items():
        monkeypatch.setattr(jobs, name, fake)
    monkeypatch.setattr(timers, "_systemctl", lambda *words: None)
    invocation = Invocation.of(task="shirt_folding", preset="micro", tracker="none")
    for by, at in (("cron", "02:00"), ("systemd", "03:00"), ("cron", "04:00")):
        jobs.add_job(tmp_path / "w", NightRequest.of(), invocation, at, install=True, by=by)
        assert [(job.by, job.at) for job in jobs.list_jobs(None)] == [(by, at)]
    # As versions before left it: by both.
    entry = table[0]
    jobs.add_job(tmp_path / "w", NightRequest.of(), invocation, "03:00", install=True, by="systemd")
    table[0] = entry
    assert len(jobs.list_jobs(None)) == 2
    jobs.remove_job(invocation.name, None)
    assert jobs.list_jobs(None) == []


def test_a_user_without_a_crontab_gets_one(machine: Machine) -> None:
    assert machine.recap(*ADD).returncode == 0
    assert machine.table.read_text().count("recap schedule") == 2


def test_print_installs_nothing(machine: Machine) -> None:
    printed = machine.recap(*ADD, "--print")
    assert printed.returncode == 0
    assert printed.stdout.splitlines()[1].startswith("0 * * * * ")
    assert not machine.table.exists()
    assert not (machine.bin / "calls").exists()


def test_without_crontab_the_entry_is_printed_and_said_not_to_be_installed(bare: Machine) -> None:
    added = bare.recap(*ADD)
    assert added.returncode == 2
    assert added.stdout.splitlines()[1].startswith("0 * * * * ")
    assert "not installed: this machine has no `crontab` program" in added.stderr
    assert bare.recap(*ADD, "--print").returncode == 0
    for arguments in (("list",), ("remove", "x")):
        asked = bare.recap(*arguments)
        assert asked.returncode == 2
        assert "no `crontab` program" in asked.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "25:00"), "HH:MM"),
        (("--task", "shirt_foldin"), "did you mean 'shirt_folding'"),
        (("--preset", "micr"), "did you mean 'micro'"),
        (("--set", "policy.model.fit.steps=many"), "expected int"),
        (("--name", "../x"), "run name"),
        (("--workspace", "a\nb"), "control character"),
    ],
)
def test_what_would_fail_at_night_fails_now(machine: Machine, arguments: tuple[str, ...], said: str) -> None:
    refused = machine.recap(*ADD, *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert not machine.table.exists()


@pytest.mark.parametrize("call", ["-l", "-"])
def test_a_crontab_that_refuses_is_left_as_it_was(machine: Machine, call: str) -> None:
    machine.table.write_text("0 1 * * * mine\n")
    (machine.bin / "refuse").write_text(call)
    added = machine.recap(*ADD)
    assert added.returncode == 1
    assert "not allowed" in added.stderr
    assert machine.table.read_text() == "0 1 * * * mine\n"


def test_a_start_that_finds_the_workspace_in_use_is_noted_once_and_mails_nobody(machine: Machine) -> None:
    at = datetime.now().strftime("%H:%M")  # due since the beginning of this minute
    assert machine.recap(*ADD, "--at", at).returncode == 0
    history = History(machine.folder / "runs", "shirt_folding-micro")
    history.path.write_text('{"kind": "scheduled", "t": 0}\n')
    line = machine.table.read_text().splitlines()[1].split(" ", 5)[5].replace("\\%", "%")
    with Workspace.open(machine.folder / "runs").lock("run by day"):
        for _ in range(2):
            # As cron does: the home directory, next to no environment.
            done = subprocess.run(
                ["sh", "-c", line],
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
                capture_output=True,
                check=False,
            )
            assert (done.stdout, done.stderr) == (b"", b"")
    log = (machine.folder / "runs" / "logs" / "schedule-shirt_folding-micro.log").read_text()
    assert log.count("run by day") == 2, "said to whoever reads the log: as the line of the night, and as the error"
    (night,) = history.nights(at_work=False)
    assert (night.state, night.exit_code) == ("locked", 4)
    shown = machine.recap("history", "shirt_folding-micro").stdout
    assert "locked" in shown
    assert "run by day" in shown


def test_a_job_is_started_by_hand_from_where_it_was_scheduled(machine: Machine) -> None:
    assert machine.recap(*ADD).returncode == 0
    with Workspace.open(machine.folder / "runs").lock("run by day"):
        started = machine.recap("run-now", "shirt_folding-micro")
    assert started.returncode == 4
    assert started.stdout.startswith("recap night --task shirt_folding --preset micro")
    (night,) = json.loads(machine.recap("history", "--json").stdout)
    assert (night["slot"], night["state"]) == ("", "locked")
    unknown = machine.recap("run-now", "shirt_folding-micr")
    assert unknown.returncode == 2
    assert "did you mean 'shirt_folding-micro'" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--watch", "here"), "learns from recordings"),
        (
            ("--collect", "none", "--demos", "d", "--rollouts", "r", "--watch", "here"),
            "its rollouts are what is watched",
        ),
        (("--min-new-episodes", "3"), "without --watch"),
        (("--import", "image-size=64"), "without --watch"),
        (("--until", "6:00"), "--until '6:00': expected HH:MM"),
        (("--watch", "here", "--import", "image-sise=64"), "did you mean 'image-size'"),
        (("--watch", "here", "--import", "jpeg-quality=good"), "expected int or none"),
        (("--watch", "here", "--import", "source=demo"), "demonstrations go to --demos"),
        (("--by", "launchd"), "expected one of cron, systemd"),
    ],
)
def test_what_makes_no_night_is_refused_now(machine: Machine, arguments: tuple[str, ...], said: str) -> None:
    refused = machine.recap(*ADD, *arguments)
    assert refused.returncode == 2, refused.stdout
    assert said in refused.stderr
    assert not machine.table.exists()
