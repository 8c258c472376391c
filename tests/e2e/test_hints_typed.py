"""What errors print is typed as it stands, by a shell, in a folder whose name no shell takes unquoted."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data.annotation import write_waiting
from data.episodes import EpisodeStore
from recap.workspace import Workspace

ODD = "odd ?#% 'x' ü {} $HOME"
RUN = "shirt_folding-micro"


class Shell:
    """A person in a folder who types lines; `recap` is on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / ODD

    def __call__(self, *line: str, fault: str = "") -> subprocess.CompletedProcess[str]:
        """One word: a line for the shell. Several: a command with the workspace, as it lies from here."""
        command = ["sh", "-c", *line] if len(line) == 1 else ["recap", *line, "--workspace", ODD]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "RECAP_FAULT": fault}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=200, check=False
        )


def _hinted(done: subprocess.CompletedProcess[str]) -> str:
    """The command that was printed last, without the remark behind it."""
    lines = re.findall(r"(?:next:|go on with:|again  |remove them:) +(recap .*)", done.stdout + done.stderr)
    assert lines, done.stdout + done.stderr
    return str(lines[-1]).partition("   (")[0].partition(", or ")[0]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with one run that was killed half-way."""
    shell = Shell(tmp_path_factory.mktemp("typed"))
    size = ("--preset", "micro", "--executor", "local", "--tracker", "none", "--iterations", "0")
    killed = shell("run", *size, fault="0/pretrain@runner.before_step:1:kill")
    assert killed.returncode == -9, killed.stderr
    return shell


def test_without_a_workspace_the_hint_makes_one_where_it_was_looked_for(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    nothing = shell("status", "--json")
    assert nothing.returncode == 2
    line = _hinted(nothing).replace("NAME", "shirt_foldin")
    unknown = shell(line)
    assert unknown.returncode == 2
    assert "did you mean 'shirt_folding'?" in unknown.stderr
    assert not shell.workspace.exists()


def test_a_locked_workspace(shell: Shell) -> None:
    with Workspace.open(shell.workspace).lock("test"):
        locked = shell("run", "--preset", "micro", "--iterations", "0")
        assert locked.returncode == 4
        looked = shell(_hinted(locked))
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.startswith(RUN)


def test_a_corrupt_episode(shell: Shell) -> None:
    store = EpisodeStore(shell.workspace / "episodes")
    path = store.path(store.ids()[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(content)
    found = shell("data", "verify")
    assert found.returncode == 5
    repaired = shell(_hinted(found))
    assert repaired.returncode == 0, repaired.stderr
    assert "lost" in repaired.stdout
    assert _hinted(repaired).startswith("recap resume ")
    assert shell("data", "verify").returncode == 0


def test_waiting_for_labels(shell: Shell) -> None:
    none = shell("annotate", "--list")
    assert none.returncode == 2
    listed = shell(f"{_hinted(none)} --list")
    assert listed.returncode == 0, listed.stderr
    ids = [line.split()[0] for line in listed.stdout.splitlines()[:-1]]
    write_waiting(shell.workspace / "runs" / RUN, ids[:1], node="0/annotate")
    outcomes = shell.folder / "outcomes.json"
    outcomes.write_text(json.dumps([{"episode_id": ids[0], "outcome": "success"}]))
    assert shell("annotate", "--from", str(outcomes)).returncode == 0
    judged = shell("annotate", "--no-browser")
    assert _hinted(judged) == f"recap resume {RUN} --workspace {shlex.quote(str(shell.workspace))}"


def test_the_commands_of_the_report(shell: Shell) -> None:
    page = shell("report", RUN).stdout.strip()
    lines = [html.unescape(line) for line in re.findall(r"<pre>(recap [^<]*)</pre>", Path(page).read_text())]
    assert len(lines) >= 4
    for line in lines:
        if " status " in line:  # the others cost more, and are quoted by the same line of code
            assert shell(line).returncode == 0, line


def test_nothing_stray_lies_beside_the_workspace(shell: Shell) -> None:
    assert {entry.name for entry in shell.folder.iterdir()} <= {ODD, "outcomes.json"}


@pytest.mark.slow
def test_an_unfinished_run(shell: Shell) -> None:
    seen = shell("status", RUN)
    resumed = shell(_hinted(seen))
    assert resumed.returncode == 0, resumed.stderr
    again = shell(_hinted(resumed))
    assert "steps run 0" in again.stdout


@pytest.mark.slow
def test_a_whole_run_with_its_mirror_in_a_folder_of_any_name(tmp_path: Path) -> None:
    from urllib.parse import unquote

    shell = Shell(tmp_path)
    done = shell("run", "--preset", "micro", "--executor", "local", "--tracker", "mlflow")
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == [ODD]
    assert (shell.workspace / "mlflow.db").is_file()
    (line,) = re.findall(r"mlflow  (mlflow ui .*)", done.stdout)
    (address,) = re.findall(r"--backend-store-uri (\S+)", line)
    assert unquote(address).endswith(f"{ODD}/mlflow.db")
    asked = f"""{sys.executable} -W ignore -c 'from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri="'{address}'")
print(len(client.search_runs([client.get_experiment_by_name("recap").experiment_id])))'"""
    counted = shell(asked)
    assert int(counted.stdout) > 10, counted.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == [ODD]
