"""The pages about robots, followed on the simulated bench behind LeRobot's interface, by a person at a terminal."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import yaml
from bench_operator import Operated, env_file
from bench_recording import install, leader_file, robot_file, terminal
from docs_pages import ROOT, Block, filled
from docs_reader import PLACEHOLDERS, Reader

from data.task_file import read_task_file
from data.tasks import TASKS


def recorded(reader: Reader, block: Block) -> None:
    """The bench behind LeRobot's interface, and a person at a terminal who presses Enter and s."""
    from bench_recording import PLUGINS

    site = install(reader.folder / "site")
    reader.environment["PYTHONPATH"] = f"{site}:{ROOT}"
    robot_file(reader.folder, "robot.yaml", announce=[6])
    leader_file(reader.folder).rename(reader.folder / "leader.yaml")
    bundle = reader.folder / "held"
    bundle.mkdir()
    (bundle / "recap.json").write_text('{"family": "hold_still"}')
    assert PLUGINS.is_dir()
    for line, source in zip(block.commands, ("demo", "rollout"), strict=True):
        words = shlex.split(filled(line, {**PLACEHOLDERS, "T": "bench_folding", "BUNDLE": "held"}))
        words[words.index("--episodes") + 1] = "1"
        told = at_a_terminal(reader, [*words, "--json"])
        assert json.loads(told)["episodes"] == {f"{source}/success": 1}


def on_a_robot(reader: Reader, block: Block) -> None:
    """One demonstration, asked for and made."""
    reader.environment["PYTHONPATH"] = f"{install(reader.folder / 'arms')}:{ROOT}"
    robot_file(reader.folder, "robot.yaml", announce=[6])
    leader_file(reader.folder).rename(reader.folder / "leader.yaml")
    (reader.folder / "env.yaml").write_text("robot: robot.yaml\nteleoperator: leader.yaml\n")
    run, robot = (
        shlex.split(filled(line, {**PLACEHOLDERS, "T": "bench_folding", "W": "on-a-robot"})) for line in block.commands
    )
    waiting = subprocess.run(
        [*run, "--preset", "micro", "--set", "demos.episodes=1"],
        cwd=reader.folder,
        env=reader.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert waiting.returncode == 6, waiting.stderr
    assert "next: recap robot" in waiting.stderr
    told = json.loads(at_a_terminal(reader, [*robot, "--json"]))
    assert (told["done"], told["wanted"]) == (1, 1)


def at_a_terminal(reader: Reader, words: list[str]) -> str:
    keys = {"recorded. Reset": b"\r", "bench: step 6": b"s", "Enter ends": b"\r"}
    heard = []
    with terminal() as (master, slave):
        process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=reader.folder,
            env=reader.environment,
        )
        try:
            assert process.stderr is not None
            assert process.stdout is not None
            for line in process.stderr:
                heard.append(line)
                for text in [text for text in keys if text in line]:
                    os.write(master, keys.pop(text))
            told = process.stdout.read()
            assert process.wait(timeout=60) == 0, "".join(heard)
            return told
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def robot_yaml(reader: Reader, block: Block) -> None:
    """LeRobot reads its part and recap its own; without motors the device itself cannot be made."""
    path = reader.folder / "kitchen.yaml"
    path.write_text(block.text)
    reader.python(
        "import draccus\nfrom pathlib import Path\nfrom lerobot.robots import RobotConfig\n"
        "import lerobot.robots as package\nfrom data.robots import lerobot_config as ours\n"
        f"path = Path({str(path)!r})\nvalues = ours.read_config(path, '--robot-config')\n"
        "setup = ours._setup(values.pop('recap'), path)\nassert setup.limits['gripper'] == (0, 100)\n"
        "ours._discover(package, None, path)\nconfig = draccus.decode(RobotConfig, values)\n"
        "assert config.cameras['front'].width == 640\n"
    )


def a_task_in_a_package(reader: Reader, block: Block) -> None:
    source = block.text.replace('tidy the desk", ...', 'tidy the desk", **SPEC').replace("RobotSpec(...)", "ROBOT")
    assert "..." not in source
    reader.python(
        "from dataclasses import asdict\nfrom data.task_file import RecordedTask\nfrom data.tasks import TASKS\n"
        "from recap.specs import RobotSpec, TaskSpec\nbuilt_in = TASKS.get('shirt_folding')\nROBOT = built_in.robot\n"
        "SPEC = {n: v for n, v in asdict(built_in.spec).items() if n not in ('id', 'prompt')}\n"
        f"{source}\nassert TASKS.get('tidy_desk').spec.prompt == 'tidy the desk'\n"
    )


# docs/afternoon.md: each file is read as it stands there; then the bench takes the place of motors and cameras.


def task_yaml(reader: Reader, block: Block) -> None:
    path = reader.folder / "desk" / "tasks" / "tidy_desk.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(block.text)
    robot, bench = read_task_file(path).robot, TASKS.get("shirt_folding").robot
    assert (len(robot.action_names), robot.gripper_dims) == (6, (5,))
    there = {
        "id": "bench",
        "state_names": list(bench.state_names),
        "action_names": list(bench.action_names),
        "action_units": list(bench.action_units),
        "gripper_dims": list(bench.gripper_dims),
        "cameras": {key: [16, 16] for key in bench.camera_names},
    }
    # A hundred steps a second, and at most a good second of them.
    path.write_text(yaml.safe_dump(yaml.safe_load(block.text) | {"rate_hz": 100.0, "max_steps": 110, "robot": there}))


def leader_yaml(reader: Reader, block: Block) -> None:
    path = reader.folder / "leader.yaml"
    path.write_text(block.text)
    reader.python(
        "import draccus, yaml\nfrom pathlib import Path\nfrom lerobot.teleoperators import TeleoperatorConfig\n"
        "import lerobot.teleoperators as package\nfrom data.robots import lerobot_config as ours\n"
        f"path = Path({str(path)!r})\nours._discover(package, None, path)\n"
        "draccus.decode(TeleoperatorConfig, yaml.safe_load(path.read_text()))\n"
    )


def env_yaml(reader: Reader, block: Block) -> None:
    env_file(reader.folder)
    for name in ("robot", "leader"):
        (reader.folder / f"{name}.json").replace(reader.folder / f"{name}.yaml")
    (reader.folder / "env.yaml").write_text(block.text)
    reader.environment["PYTHONPATH"] = f"{install(reader.folder / 'arms')}:{ROOT}"


def an_afternoon(reader: Reader, block: Block) -> None:
    """With a few attempts of each kind; whoever is at the robot reacts to what the bench says."""
    for line in block.commands:
        words = shlex.split(line)
        if words[1] == "robot":
            rehearsal = "--dry" in words
            made = Operated(reader.folder / "arms", *words[2:], cwd=reader.folder)
            assert made.code == 0, "\n".join(made.heard)
            assert rehearsal or made.result["done"] == made.result["wanted"]
        elif "--dry-run" in words:
            assert "gate" in reader.types(line)
        elif words[1] == "run":
            assert "next: recap robot" in reader.types(f"{line.partition(' --set')[0]} --preset micro", expect=6)
        else:
            # The fourth time nothing more is asked for.
            asked = list((reader.folder / "desk" / "runs" / "tidy_desk-micro-robot" / "robot").glob("*.jsonl"))
            reader.types(line, expect=6 if len(asked) < 4 else 0)
