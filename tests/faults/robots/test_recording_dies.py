"""`recap data record` as typed, in a process of its own at a pseudo-terminal: it ends well, is killed, is stopped."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
from bench_recording import leader_file, robot_file, terminal

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from data.tasks import TASKS
from data.verify import Kind, verify
from recap.types import Outcome, Source

COMMAND = [sys.executable, "-c", "from cli.main import main; main()", "data", "record", "--task"]
KILL = subprocess.Popen.kill


def INTERRUPT(process):
    process.send_signal(signal.SIGINT)


class Typed:
    """The command with its terminal; types `reactions[text]`, or does it to the process, when a line has that text."""

    def __init__(self, site, folder, reactions, *options, task="bench_folding", fault=None, announce=(), robot=None):
        environment = {name: value for name, value in os.environ.items() if name != "RECAP_FAULT"}
        environment |= {"PYTHONPATH": f"{site}:{os.getcwd()}", "OMP_NUM_THREADS": "1"}
        environment |= {"RECAP_FAULT": fault} if fault else {}
        files = ["--robot-config", str(robot_file(folder, announce=list(announce), **(robot or {})))]
        files += ["--teleop-config", str(leader_file(folder))]
        files += ["--workspace", str(folder / "w"), "--json"]
        self.heard = []
        with terminal() as (master, slave):
            before = termios.tcgetattr(slave)
            process = subprocess.Popen(
                [*COMMAND, task, *files, *options],
                stdin=slave,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            waiting = {text: list(reaction) for text, reaction in reactions.items()}
            try:
                for line in process.stderr:
                    self.heard.append(line.rstrip())
                    for text, queue in waiting.items():
                        if text in line and queue:
                            self.react(process, master, queue.pop(0))
                self.stdout = process.stdout.read()
                self.code = process.wait(timeout=60)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
                process.stderr.close()
            self.terminal_restored = termios.tcgetattr(slave) == before
        self.store, self.book = EpisodeStore(folder / "w" / "episodes"), LabelBook(folder / "w" / "labels")

    @staticmethod
    def react(process, master, reaction):
        if callable(reaction):
            reaction(process)
        else:
            os.write(master, reaction)

    def outcomes(self):
        return {i: a.outcome for i, a in self.book.annotations("human").items()}


def test_a_killed_session_loses_the_attempt_in_flight_and_nothing_else(site, tmp_path):
    killed = Typed(
        site,
        tmp_path,
        {"recorded. Reset": [b"\r", b"\r"], "bench: step 4": [b"s"], "bench: step 40": [KILL]},
        announce=[4, 40],
    )
    assert killed.code == -signal.SIGKILL, killed.heard
    (kept,) = killed.store.ids()
    assert killed.outcomes() == {kept: Outcome.SUCCESS}
    assert killed.store.load(kept).source is Source.DEMO
    assert list(verify(killed.store)) == []
    again = Typed(
        site,
        tmp_path,
        # Far beyond the first one's end: of equal length they would be one and the same episode.
        {"recorded. Reset": [b"\r"], "bench: step 30": [b"f"], "Enter ends": [b"\r"]},
        "--episodes=1",
        announce=[30],
    )
    assert again.code == 0, again.heard
    assert again.terminal_restored
    assert sorted(again.outcomes().values()) == [Outcome.FAILURE, Outcome.SUCCESS]
    summary = json.loads(again.stdout)
    assert summary["episodes"] == {"demo/failure": 1}
    assert summary["steps"] == summary["human_steps"] >= 30
    workspace = tmp_path / "w"
    assert summary["next_command"] == (
        f"recap run --task bench_folding --collect none --demos {workspace} --iterations 0 "
        f"--set imported.others=skip --workspace {workspace}"
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_at_random_moments_lose_no_recorded_episode(site, tmp_path):
    rng = random.Random(3)
    before, hits = 0, 0
    for number in range(20):
        judged = 4 + number  # other lengths: equal attempts are one episode
        step, pause = judged + rng.randint(1, 40), rng.uniform(0, 0.2)

        def strike(process, pause=pause):
            time.sleep(pause)
            process.kill()

        killed = Typed(
            site,
            tmp_path,
            {"recorded. Reset": [b"\r"] * 9, f"bench: step {judged}": [b"s"], f"bench: step {step}": [strike]},
            "--episodes=9",
            announce=[judged, step],
        )
        assert killed.code == -signal.SIGKILL, killed.heard
        counts = [int(found[1]) for line in killed.heard if (found := re.search(r"(\d+) of 9 recorded", line))]
        hits += max(counts) > 0
        # By their ids, not by counting: on a busy machine a key comes a step late, and two attempts are equal.
        said = {found[1] for line in killed.heard if (found := re.search(r"-> ([0-9a-f]{12})\b", line))}
        stored = {episode_id[:12] for episode_id in killed.store.ids()}
        assert len(said) >= max(counts) - 1, "an attempt that counts was named"
        assert said <= stored, "at most the attempt in flight is lost"
        assert len(stored) <= before + max(counts) + 1
        before = len(stored)
        assert {finding.kind for finding in verify(killed.store)} <= {Kind.ORPHAN_TMP, Kind.ORPHAN_TRUTH}
        for episode_id in killed.store.ids():
            assert killed.store.load(episode_id).length > 0
    assert hits >= 10, "kills before anything was recorded prove nothing"


@pytest.mark.slow
def test_killed_between_an_episode_and_its_label_the_episode_waits_for_a_person(site, tmp_path):
    killed = Typed(
        site,
        tmp_path,
        {"recorded. Reset": [b"\r"], "bench: step 4": [b"s"]},
        fault="record.before_label:1:kill",
        announce=[4],
    )
    assert killed.code == -signal.SIGKILL, killed.heard
    assert len(killed.store.ids()) == 1
    assert killed.outcomes() == {}
    assert list(verify(killed.store)) == []
    listed = subprocess.run(
        [sys.executable, "-m", "cli", "annotate", "--all", "--list", "--json", "--workspace", str(tmp_path / "w")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(listed.stdout)["episodes"] == list(killed.store.ids())


def test_ctrl_c_stores_the_attempt_as_aborted_and_frees_the_robot(site, tmp_path):
    done = Typed(
        site, tmp_path, {"recorded. Reset": [b"\r"], "bench: step 5": [INTERRUPT]}, "--episodes", "3", announce=[5]
    )
    assert done.code == 130, done.heard
    assert done.terminal_restored
    assert "bench: disconnected" in done.heard
    assert list(done.outcomes().values()) == [Outcome.ABORTED]
    summary = json.loads(done.stdout)
    assert summary["interrupted"] == "SIGINT"
    assert summary["episodes"] == {"demo/aborted": 1}
    assert summary["next_command"].endswith("--episodes 3")
    assert any("To go on" in line for line in done.heard)


@pytest.mark.slow
def test_a_policy_is_corrected_and_the_robot_breaks_in_the_next_attempt(site, tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "recap.json").write_text(json.dumps({"family": "hold_still"}))
    done = Typed(
        site,
        tmp_path,
        {
            "recorded. Reset": [b"\r", b"\r"],
            "bench: step 4": [b"i"],
            "bench: step 12": [b"h"],
            "bench: step 20": [b"s"],
        },
        "--policy",
        str(bundle),
        announce=[4, 12, 20],
        robot={"break_at": 40},
    )
    assert done.code == 1, done.heard
    assert any("error: bench_arms: get_observation failed: ConnectionError: motor 3" in line for line in done.heard)
    assert "bench: disconnected" in done.heard
    episodes = {done.outcomes()[i]: done.store.load(i) for i in done.store.ids()}
    corrected, broken = episodes[Outcome.SUCCESS], episodes[Outcome.ABORTED]
    assert (corrected.source, broken.source) == (Source.CORRECTION, Source.ROLLOUT)
    assert corrected.policy_id == broken.policy_id == "hold-still"
    human = np.flatnonzero(corrected.intervened)
    assert human[0] > 0
    assert human[-1] < corrected.length - 1
    assert len(human) == human[-1] - human[0] + 1
    assert json.loads(done.stdout)["episodes"] == {"correction/success": 1, "rollout/aborted": 1}


@pytest.mark.slow
def test_the_guides_first_step_a_task_file_in_a_new_folder(site, tmp_path):
    """Through the command as typed; the camera is late once, the robot does not say what it sends."""
    robot = TASKS.get("shirt_folding").robot
    described = {
        "id": "tidy_desk",
        "prompt": "tidy the desk",
        "max_steps": 60,
        "rate_hz": 100.0,
        "lookahead_s": 0.2,
        "positive_fraction": 0.4,
        "reset_s": 1.0,
        "success": "the desk is tidy",
        "robot": {
            "id": "bench_arms",
            "state_names": list(robot.state_names),
            "action_names": list(robot.action_names),
            "action_units": list(robot.action_units),
            "gripper_dims": list(robot.gripper_dims),
            "cameras": {name: [16, 16] for name in robot.camera_names},
        },
    }
    (tmp_path / "w" / "tasks").mkdir(parents=True)
    (tmp_path / "w" / "tasks" / "tidy_desk.yaml").write_text(json.dumps(described))
    done = Typed(
        site,
        tmp_path,
        {"recorded. Reset": [b"\r"], "bench: step 9": [b"s"], "Enter ends": [b"\r"]},
        "--episodes=1",
        task="tidy_desk",
        announce=[9],
        robot={"break_at": 4, "break_reads": 3, "reports": False},
    )
    assert done.code == 0, done.heard
    assert any("step 4 went on with an earlier reading: bench_arms: get_observ" in line for line in done.heard)
    assert any("does not report what it sends" in line for line in done.heard)
    assert done.heard[-1] == "disconnected: bench_leader, bench_arms"
    summary = json.loads(done.stdout)
    assert (summary["stale_steps"], summary["changed_steps"], summary["reports_what_it_sent"]) == (1, 0, False)
    (episode_id,) = done.store.ids()
    assert np.flatnonzero(done.store.load(episode_id).stale).tolist() == [4]
    assert done.store.info(episode_id).task == "tidy_desk"
    shown = subprocess.run(
        [sys.executable, "-m", "cli", "data", "show", episode_id[:12], "--workspace", str(tmp_path / "w")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "on an earlier reading: steps 4" in shown.stdout
