"""The text of a crontab entry: what the shell is given, what is left alone, what comes back."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.schedule.entries import Job, check_time, entry_text, jobs_in, with_entry, without_entry
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


def test_the_entry_starts_at_its_time_every_day() -> None:
    begin, line, end = entry().splitlines()
    assert line.startswith("5 2 * * * cd / && (")
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
    started, *said, ended = Path(job.log).read_text().splitlines()
    assert started.endswith(" start")
    assert said == [f"<{argument}>" for argument in ["", *arguments]]
    assert ended == "exit code 0"


def test_the_log_says_the_exit_code(tmp_path: Path) -> None:
    job = replace(JOB, log=str(tmp_path / "log"))
    text = entry(job, "sh", "-c", "echo locked >&2; exit 4", directory=tmp_path)
    for _ in range(2):
        subprocess.run(["sh", "-c", as_cron_runs_it(text)], check=True)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if "start" not in line] == ["locked", "exit code 4"] * 2


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
