"""The text of a crontab entry: what the shell is given, what is left alone, what comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.schedule.clock import check_time, last_time, next_time
from pipelines.schedule.entries import Job, entry_text, jobs_in, with_entry, without_entry
from pipelines.schedule.timers import unit_texts
from recap.errors import ConfigError, UnknownName

JOB = Job(name="fold", at="02:05", workspace="/data/ws", log="/data/ws/logs/x.log", command="recap run --task fold")
FOREIGN = "# my own\nMAILTO=me@example.org\n\n*/5 * * * * backup --to 'disk 1' \\% done\n@reboot x"


def entry(job: Job = JOB, *argv: str, directory: Path = Path("/")) -> str:
    return entry_text(job, argv=list(argv) or ["recap", "run"], directory=directory)


def as_cron_runs_it(text: str) -> str:
    """The shell command of an entry, after what cron's own parser does to it (cron's do_command.c, in words).

    A backslash makes a % that follows it plain; any other character after it ends that. A plain % ends the command.
    """
    line = text.splitlines()[1].split(" ", 5)[5]
    command: list[str] = []
    escaped = False
    for character in line:
        if escaped and character == "%":
            command[-1] = "%"
        elif character == "%":
            break
        else:
            command.append(character)
        escaped = character == "\\" and not escaped
    return "".join(command)


@pytest.mark.parametrize("at", ["00:00", "09:30", "23:59"])
def test_times_of_day_are_taken(at: str) -> None:
    assert check_time(at) == at


@pytest.mark.parametrize(
    "at", ["24:00", "2:00", "02:60", "0200", "02:00:00", "02:00\n", "noon", "", "-1:00", "\u0660\u0662:00"]
)
def test_other_times_are_refused(at: str) -> None:
    with pytest.raises(ConfigError, match="HH:MM"):
        check_time(at)


@given(st.datetimes(), st.times().map(lambda time: time.strftime("%H:%M")))
def test_the_last_and_the_next_time_lie_around_now_and_a_day_apart(now: datetime, at: str) -> None:
    if not datetime(2, 1, 1) < now < datetime(9998, 1, 1):
        return
    before, after = last_time(at, now), next_time(at, now)
    assert before <= now < after
    assert after - before == timedelta(days=1)
    assert before.strftime("%H:%M") == after.strftime("%H:%M") == at


def test_the_entry_starts_every_hour_at_the_minute_of_its_time() -> None:
    begin, line, end = entry().splitlines()
    assert line.startswith("5 * * * * (cd / && ")
    assert line.endswith(">> /data/ws/logs/x.log 2>&1")
    assert begin.startswith("# >>> recap schedule {")
    assert end == "# <<< recap schedule"


nasty = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(st.lists(nasty | st.sampled_from(["%", "\\%", "\\\\%", "'\\%'", "$(x)", "a b", "%%", "`x`", "\\"]), max_size=4))
def test_cron_and_the_shell_pass_on_every_argument_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("job")
    job = replace(JOB, log=str(folder / "it's 100% \\% mine.log"))
    text = entry_text(job, argv=["printf", "<%s>\\n", "", *arguments], directory=folder)
    done = subprocess.run(["sh", "-c", as_cron_runs_it(text)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert Path(job.log).read_text().splitlines() == [f"<{argument}>" for argument in ["", *arguments]]


def test_the_log_holds_what_every_start_says_also_of_what_went_wrong(tmp_path: Path) -> None:
    job = replace(JOB, log=str(tmp_path / "log"))
    quiet = {"capture_output": True, "text": True, "check": False}
    for text in (entry(job, "sh", "-c", "echo locked >&2; exit 4"), entry(job, directory=tmp_path / "gone")):
        done = subprocess.run(["sh", "-c", as_cron_runs_it(text)], **quiet)
        assert (done.stdout, done.stderr) == ("", ""), "cron would send a mail every hour"
    locked, gone = (tmp_path / "log").read_text().splitlines()
    assert locked == "locked"
    assert "gone" in gone


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x00", "\x7f"])
def test_what_a_line_cannot_hold_is_refused(character: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        entry(JOB, "recap", f"a{character}b")
    with pytest.raises(ConfigError, match="control character"):
        entry(replace(JOB, workspace=f"/a{character}b"))


@pytest.mark.parametrize("foreign", ["", FOREIGN, FOREIGN + "\n", "\n\n", "# <<< recap schedule\n"])
def test_foreign_lines_stay_as_they_are(foreign: str) -> None:
    before = with_entry(foreign, JOB, entry())
    assert jobs_in(before) == [JOB]
    added = foreign + ("\n" if foreign and not foreign.endswith("\n") else "")
    assert before == added + entry()
    assert with_entry(before, JOB, entry()) == before
    assert without_entry(before, "fold", None) == (added, JOB)


def test_a_changed_job_takes_the_place_of_the_old_one() -> None:
    other = replace(JOB, name="other")
    text = with_entry(with_entry(FOREIGN, JOB, entry()), other, entry(other)) + "# tail\n"
    later = replace(JOB, at="03:00")
    changed = with_entry(text, later, entry(later))
    assert jobs_in(changed) == [later, other]
    assert changed == text.replace(entry(), entry(later))


def test_one_name_in_two_workspaces_is_two_jobs() -> None:
    second = replace(JOB, workspace="/data/second")
    text = with_entry(with_entry("", JOB, entry()), second, entry(second))
    assert jobs_in(text) == [JOB, second]
    with pytest.raises(ConfigError, match="scheduled in /data/ws, /data/second"):
        without_entry(text, "fold", None)
    assert without_entry(text, "fold", "/data/second") == (entry(), second)


def test_an_unknown_job_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'fold'"):
        without_entry(entry(), "fodl", None)
    with pytest.raises(UnknownName, match="known: none"):
        without_entry(entry(), "fold", "/elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("# <<< recap schedule\n", ""),
        lambda text: text.replace("# <<<", "0 1 * * * mine\n# <<<"),
        lambda text: text.replace("{", "{{"),
        lambda text: text.replace('"name"', '"nom"'),
        lambda text: text.splitlines(keepends=True)[0],
        lambda text: "".join(text.splitlines(keepends=True)[::2]),
    ],
)
def test_an_entry_changed_by_hand_is_not_guessed_at(spoil: object) -> None:
    assert callable(spoil)
    text = FOREIGN + "\n" + spoil(entry()) + "# after\n"
    for use in (
        lambda: jobs_in(text),
        lambda: with_entry(text, JOB, entry()),
        lambda: without_entry(text, "fold", None),
    ):
        with pytest.raises(ConfigError, match="changed by hand"):
            use()


def test_units_say_what_they_are_and_start_every_hour_and_after_a_sleep() -> None:
    texts = unit_texts(
        replace(JOB, directory="/a b/100%", by="systemd"), ["/bin/recap", "a b", '"q"', "$HOME", "5%", "\\"]
    )
    (service, text), (timer, times) = texts.items()
    assert (service.removesuffix(".service"), service[:11]) == (timer.removesuffix(".timer"), "recap-fold-")
    assert Job(**json.loads(text.partition("\n")[0].removeprefix("# recap schedule "))).name == "fold"
    assert "WorkingDirectory=/a b/100%%\n" in text
    assert 'ExecStart="/bin/recap" "a b" "\\"q\\"" "$$HOME" "5%%" "\\\\"\n' in text
    assert "OnCalendar=*-*-* *:05:00\nPersistent=true\n" in times


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_reads_the_units_without_a_complaint(tmp_path: Path) -> None:
    texts = unit_texts(replace(JOB, directory=str(tmp_path), by="systemd"), ["/bin/sh", "-c", "true 'a b' $x 5%"])
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in texts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in checked.stderr.splitlines() if "recap" in line or str(tmp_path) in line] == []
    assert checked.returncode == 0, checked.stderr


def test_a_unit_that_no_unit_can_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="control character"):
        unit_texts(JOB, ["recap", "a\nb"])
