"""Every command and example of README.md, CONTRIBUTING.md and docs/ does what it says.

Each page is walked from top to bottom in a folder of its own with a finished run in it (`runs`). A block that no table
here knows fails the test: put it into the page's table, or into NOTATION or NOT_RUN with the reason.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bench_recording import install, leader_file, robot_file, terminal
from docs_pages import PAGES, ROOT, Block, blocks, fault, filled, required, spoken
from tests.support.serving import Robot
from tests.support.synthetic_lerobot import synthetic_dataset

from data.annotation import write_waiting
from data.episodes import EpisodeStore
from data.lerobot_io.folder import open_folder
from data.task_file import read_task_file
from recap.workspace import Workspace

pytestmark = pytest.mark.timeout(600)
RUN = "shirt_folding-micro"
MICRO = "--preset micro --tracker none"
ONE_STEP = "--set pretrain.steps=1 --set policy.model.fit.steps=1 --set values.viva.fit.steps=1"

NOT_RUN = {
    "make run": "half a day of training",
    "make test": "this is one of its tests",
    "make setup": "made the environment that this runs in; its own test would make another",
    "make gpu": "needs a GPU",
    "make check": "CI runs it beside the tests",
    "mlflow ui": "a server that stays; its options are asked for instead",
    "make env-": "builds an environment from a package index",
    ".envs/": "needs that environment",
}
"""{beginning of a command: why it is not run}: it is read against the command line, the Makefile or the program."""

NOTATION = {
    "README.md": ["cli -> pipelines -> "],
    "docs/annotation.md": ['{"format": 1,'],
    "docs/arms.md": ["distance(a, b) = "],
    "docs/compare.md": ["k/NAME/value_train "],
    "docs/data.md": ["<root>/<task>/<id>.zip"],
    "docs/engine.md": ["{step, version, semantic settings", "workspace.json "],
    "docs/gate.md": ["P(first b_j >= c_j", "pocock "],
    "docs/loop.md": ["0/TASK/record ", "G_t = ", "loss = ", "A_t = "],
    "docs/offline.md": ["0/TASK/record "],
    "docs/policy.md": ["Task: fold the shirt"],
    "docs/study.md": ["results/study/NAME/study.json"],
}
"""{page: beginnings of blocks that hold formulas, layouts and node names}: nothing to type."""

PLACEHOLDERS = {
    "T": "shirt_folding",
    "T,U,V": "shirt_folding,box_assembly,toilet_paper_organization",
    "DIR": "somewhere",
    "NAME": RUN,
    "RUN": RUN,
    "R": RUN,
    "ID": "0123",
    "FILE": "some.yaml",
    "BUNDLE": "some",
    "POLICY": RUN,
    "AGAINST": RUN,
    "W": "runs",
    "P": "micro",
    "K": "2",
    "N": "1",
    "...": "workers=1",
}
OF_PAGE = {"docs/annotation.md": {"P": "0"}}
"""{page: {placeholder: what it stands for there}}, where that is something else."""
CRONTAB = """#!/bin/sh
table=$(dirname "$0")/table
case "$1" in
  -l) if [ -e "$table" ]; then cat "$table"; else echo "no crontab for tester" >&2; exit 1; fi ;;
  -) cat > "$table" ;;
esac
"""


@dataclass
class Reader:
    """Somebody who follows a page in a folder: `recap` is on the path, and so is a crontab of their own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin = self.folder / "bin"
        self.bin.mkdir(parents=True)
        (self.bin / "crontab").write_text(CRONTAB)
        (self.bin / "crontab").chmod(0o755)
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "RECAP_TASKS": ""}

    def types(self, line: str, *, expect: int = 0) -> str:
        """What a line answers."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def python(self, source: str) -> str:
        """What a program prints."""
        (self.folder / "example.py").write_text(source)
        self.environment["PYTHONPATH"] = str(ROOT)
        return self.types(f"{sys.executable} -W ignore example.py")

    def needs_a_run(self, finished: Path) -> None:
        shutil.copytree(finished, self.folder / "runs", symlinks=True)

    @property
    def store(self) -> EpisodeStore:
        return EpisodeStore(self.folder / "runs" / "episodes")


Handler = Callable[[Reader, Block], None]


def lines(*extra: str, values: dict[str, str] | None = None) -> Handler:
    """Types every line of a block, all that is optional included; `extra` is added to the lines in turn."""

    def handler(reader: Reader, block: Block) -> None:
        assert len(extra) in (0, len(block.commands))
        for line, more in zip(block.commands, extra or ("",) * len(block.commands), strict=True):
            reader.types(f"{filled(line, {**PLACEHOLDERS, **(values or {})})} {more}")

    return handler


def read_only(reader: Reader, block: Block) -> None:
    """For what is in NOT_RUN."""
    for line in block.commands:
        assert any(line.startswith(beginning) for beginning in NOT_RUN), line
        assert not fault(line)


# README.md and docs/annotation.md


def judge(reader: Reader, block: Block) -> None:
    """A run that waits for a label which is given by then: the page has nothing to ask and ends at once."""
    episode = reader.store.rows()[-1].id
    (reader.folder / "given.json").write_text(json.dumps([{"episode_id": episode, "outcome": "failure"}]))
    reader.types("recap annotate --from given.json")
    write_waiting(Workspace.open(reader.folder / "runs").run_dir(RUN), [episode], node="1/annotate")
    annotate, resume = (filled(line, PLACEHOLDERS) for line in block.commands)
    assert f"recap resume {RUN}" in reader.types(f"{annotate} --no-browser")
    reader.types(f"{resume} --json")


def answer(reader: Reader, block: Block) -> None:
    """With --all in the usage line the page would ask: it is left out, and nothing waits."""
    (line,) = block.commands
    reader.types(filled(line.replace("[--all] ", ""), {**PLACEHOLDERS, **OF_PAGE[block.page]}))


def outcomes(reader: Reader, block: Block) -> None:
    ids = reader.store.ids()
    command, table = block.text.split("\n\n")
    for shown, episode in zip(("3f09c1aa", "77b2e0d4"), ids, strict=False):
        assert shown in table
        table = table.replace(shown, episode[:8])
    (reader.folder / "outcomes.csv").write_text(table)
    assert "2" in reader.types(filled(command, PLACEHOLDERS))


def annotations_from_python(reader: Reader, block: Block) -> None:
    prelude = (
        "from data.episodes import EpisodeStore\nfrom recap.workspace import Workspace\n"
        "workspace = Workspace.open('runs')\nstore = EpisodeStore(workspace.episodes)\nids = store.ids()\n"
        "episode_id = ids[0]\n"
    )
    told = reader.python(f"{prelude}{block.text}\nprint(len(found), sorted(found.to_json()))")
    wanted = next(b for b in blocks(block.page) if b.first.startswith('{"format": 1,')).text
    for name in ("format", "annotations", "skipped", "sources"):
        assert f"'{name}'" in told
        assert f'"{name}"' in wanted


# docs/datasets.md


def datasets(reader: Reader, block: Block) -> None:
    """Imports; the run, with one gradient step of everything; the export."""
    shape = {"lengths": (6, 5, 6), "size": (24, 32)}
    synthetic_dataset(reader.folder / "recordings" / "demos", **shape)
    ended = [[0] * (length - 1) + [number % 2] for number, length in enumerate(shape["lengths"])]
    synthetic_dataset(reader.folder / "recordings" / "policy", seed=1, frame_columns={"next.success": ended}, **shape)
    *imports, run, export = (filled(line, PLACEHOLDERS) for line in block.commands)
    for line in imports:
        assert "3 episodes imported" in reader.types(line)
    # The lines say W, the folder of this page's workspace; a run at its own size would take hours.
    reader.types(f"{run} {MICRO} --name yellow_can-offline {ONE_STEP} --set advantage.health.enforce=false")
    assert "LeRobotDataset v3.0" in reader.types(export)
    assert len(open_folder(reader.folder / "labelled").episodes) == 3


def task_file(reader: Reader, block: Block) -> None:
    path = reader.folder / f"{block.first.partition(': ')[2]}.yaml"
    path.write_text(block.text)
    assert read_task_file(path).spec.max_steps == 421


# docs/export.md


def evaluated(reader: Reader, block: Block) -> None:
    """The second line against the folder that the block before it exported."""
    first, second = (filled(line, {**PLACEHOLDERS, "DIR": "exported"}) for line in block.commands)
    assert "throughput" in reader.types(first)
    assert "first minus second on the same 2 starts" in reader.types(second)


# docs/engine.md and docs/tasks.md


def a_step_of_ones_own(reader: Reader, block: Block) -> None:
    """The example with a body for its `...`, and demonstrations that are there already."""
    body = "model.mkdir(parents=True, exist_ok=True)\n    (model / 'weights.json').write_text('{}')"
    source = block.text.replace("    ...\n", f"    {body}\n")
    micro = "PRESETS.get('micro')(('shirt_folding',), Models()).demos"
    source = source.replace("DemosConfig()", micro)
    assert body in source
    assert micro in source
    prelude = """
from collections.abc import Mapping
from dataclasses import dataclass
from pipelines.config import PRESETS, Models
from pipelines.executors.local import LocalExecutor
from pipelines.facts import EnvConfig
from pipelines.steps.record.step import RecordFacts
from recap.config import setting, validate
from recap.graph import Graph, NodeName
from recap.runner import Runner
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step
from recap.workspace import Workspace
"""
    ast.parse(block.text)
    told = reader.python(f"{prelude}{source}\nprint(summary.executed, summary.cached)")
    assert "['0/train'] ['0/shirt_folding/record']" in told


def a_demonstration(reader: Reader, block: Block) -> None:
    assert "success" in reader.python(f"{block.text}\nprint(draft.source, truth.outcome)")


# docs/offline.md and docs/schedule.md


def offline(reader: Reader, block: Block) -> None:
    """A whole workspace as both folders, as the page says further down."""
    (line,) = block.commands
    line = filled(line, {**PLACEHOLDERS, "DIR": "runs"})
    told = reader.types(f"{line} {MICRO} {ONE_STEP} --set imported.others=skip --set advantage.health.enforce=false")
    assert "1/shirt_folding/open_loop_eval" in told


def scheduled(reader: Reader, block: Block) -> None:
    add, show, told, remove = block.commands
    reader.types(required(add))
    table = (reader.bin / "table").read_text()
    shown = next(other for other in blocks(block.page) if other.first.startswith("# >>>")).text
    for line, written in zip(shown.splitlines(), table.splitlines(), strict=True):
        # Up to the first thing that depends on the machine.
        assert written.startswith(line.partition("DIRECTORY")[0].partition('", "command')[0]), written
    assert "shirt_folding" in reader.types(show)
    assert "no night yet" in reader.types(told)
    assert "# >>> recap schedule" in reader.types(filled(add, PLACEHOLDERS))
    assert (reader.bin / "table").read_text() == table, "--print installs nothing"
    reader.types(remove)
    assert "shirt_folding" not in (reader.bin / "table").read_text()


def a_night(reader: Reader, block: Block) -> None:
    """Nothing new lies there: the page of a night that trains nothing, told to whoever is to be told."""
    (line,) = block.commands
    (reader.folder / "somewhere").mkdir()
    told = reader.types(filled(line, PLACEHOLDERS))
    assert "shirt_folding-offline: too few" in told


def an_entry(reader: Reader, block: Block) -> None:
    """Compared above with what was installed."""


# docs/robots.md


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
        f"path = Path({str(path)!r})\nvalues = ours._read(path, '--robot-config')\n"
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


# docs/serve.md


def served(reader: Reader, block: Block) -> None:
    """On a free port of this machine; the example of the page asks it, with a stand-in for what is not installed."""
    *before, command = block.text.splitlines()
    for line in before:
        reader.types(line)
    words = shlex.split(filled(command, PLACEHOLDERS))
    token = (reader.folder / "token").read_text().strip() if "--token-file" in words else ""
    words = ["127.0.0.1" if word == "0.0.0.0" else word for word in words]
    with subprocess.Popen(
        [*words, "--port", "0"], cwd=reader.folder, env=reader.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            address = re.search(r"ws://(\S+)", said := process.stderr.readline())
            assert address, said + process.stderr.read()
            with Robot(address[1], token=token) as robot:
                assert robot.metadata["execute"] >= 1
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def asked(reader: Reader, block: Block) -> None:
    """The stock client is in an environment of its own, where a contract test makes the same calls."""
    ast.parse(block.text)
    stock = (ROOT / "tests/contract/serving/ask_with_stock_client.py").read_text()
    for call in ("WebsocketClientPolicy(", ".get_server_metadata()", '.infer(question(number % rows))["actions"]'):
        assert call in stock
        assert call.partition("(question")[0] in block.text


# docs/tracking.md


def mlflow_ui(reader: Reader, block: Block) -> None:
    (line,) = block.commands
    assert any(line.startswith(beginning) for beginning in NOT_RUN)
    known = reader.types("mlflow ui --help")
    for option in [word for word in line.split() if word.startswith("--")]:
        assert option in known


HANDLERS: dict[str, dict[str, Handler]] = {
    "README.md": {"recap run": lines(MICRO), "make run": read_only},
    "CONTRIBUTING.md": {"make setup": read_only},
    "docs/annotation.md": {
        "recap annotate NAME": judge,
        "recap annotate [RUN]": answer,
        "recap annotate --from": outcomes,
        "recap annotate --list": lines("--all"),
        "from data.annotation import": annotations_from_python,
    },
    "docs/compare.md": {"recap compare": lines("--unseen-task none")},
    "docs/datasets.md": {"recap data import": datasets, "id: yellow_can": task_file},
    "docs/engine.md": {"@dataclass": a_step_of_ones_own},
    "docs/export.md": {"recap export": lines(values={"DIR": "exported"}), "recap evaluate": evaluated},
    "docs/offline.md": {"recap run": offline, "recap schedule add": lines(MICRO)},
    "docs/robots.md": {
        "recap data record": recorded,
        "recap run --task T --env": on_a_robot,
        "type: so101_follower": robot_yaml,
        "TASKS.add(": a_task_in_a_package,
    },
    "docs/schedule.md": {
        "recap night": a_night,
        "recap schedule add": scheduled,
        "# >>> recap schedule": an_entry,
        "recap gc": lines(),
    },
    "docs/serve.md": {"recap serve": served, "from openpi_client": asked, "head -c 24": served},
    "docs/study.md": {"recap study run": lines()},
    "docs/tasks.md": {"from data.rollout": a_demonstration},
    "docs/tracking.md": {"mlflow ui": mlflow_ui},
}
"""{page: {beginning of a block: who does it}}."""
OWN_WORKSPACE = ("docs/datasets.md", "docs/robots.md", "docs/tasks.md", "docs/tracking.md")
"""Pages that begin with nothing."""
SLOW = (
    "docs/annotation.md",
    "docs/datasets.md",
    "docs/export.md",
    "docs/offline.md",
    "docs/robots.md",
    "docs/serve.md",
)


def walk(page: str) -> list[tuple[Block, Handler | None]]:
    """Every block of a page with who does it: None for notation."""
    found: list[tuple[Block, Handler | None]] = []
    for block in blocks(page):
        known = [handler for start, handler in HANDLERS.get(page, {}).items() if block.first.startswith(start)]
        if any(block.first.startswith(start) for start in NOTATION.get(page, ())):
            assert not known
            assert not block.commands, f"{page}:{block.line}: a command among what nobody types"
            found.append((block, None))
        else:
            assert len(known) == 1, f"{page}:{block.line}: no handler knows this block:\n{block.text}"
            found.append((block, known[0]))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_known_and_every_entry_is_met(page: str) -> None:
    met = [block.first for block, _ in walk(page)]
    for start in [*HANDLERS.get(page, {}), *NOTATION.get(page, ())]:
        assert any(first.startswith(start) for first in met), f"{page} has no block '{start}' any more"


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_options_that_there_are(page: str) -> None:
    """Those in the running text, which nobody runs here, and those of the blocks of slow pages before they are run."""
    written = [*spoken(page), *((block.line, line) for block in blocks(page) for line in block.commands)]
    wrong = [f"{page}:{number}: {said}" for number, line in written if (said := spoken_fault(line, page))]
    assert not wrong, "\n".join(wrong)


def spoken_fault(line: str, page: str) -> str:
    if line.startswith(".envs/"):
        line = line.partition("/bin/")[2]
    line = filled(line, {**PLACEHOLDERS, **OF_PAGE.get(page, {})})
    # A command's name alone stands for it: what it needs is said where it is used.
    return "" if " -" not in line and "Missing option" in fault(line) else fault(line)


def _followed(page: str) -> object:
    """A page with its marks: those that begin with a finished run wait for one worker to make it."""
    group = pytest.mark.xdist_group("e2e-docs" if page in OWN_WORKSPACE else "e2e-micro")
    return pytest.param(page, marks=[group, *([pytest.mark.slow] if page in SLOW else [])])


@pytest.mark.parametrize("page", [_followed(page) for page in PAGES if page in HANDLERS])
def test_following_a_page_from_top_to_bottom(page: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "here")
    if page not in OWN_WORKSPACE:
        reader.needs_a_run(request.getfixturevalue("finished_micro"))
    for block, handler in walk(page):
        if handler is not None:
            handler(reader, block)


def walked() -> list[tuple[str, str]]:
    """(function, file) of the walk from camera to label in docs/loop.md."""
    return re.findall(r"^\| \d+ \| `([\w.]+)` \| `([\w/.]+)` \|", (ROOT / "docs/loop.md").read_text(), re.MULTILINE)


def test_the_walk_from_camera_to_label_names_functions_that_there_are() -> None:
    rows = walked()
    assert 8 <= len(rows) <= 12
    for name, file in rows:
        inside: list[ast.stmt] = ast.parse((ROOT / file).read_text()).body
        for part in name.split("."):
            found = [node for node in inside if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == part]
            assert len(found) == 1, f"docs/loop.md: {file} has no {name}"
            inside = found[0].body
        assert isinstance(found[0], ast.FunctionDef), f"{name} is no function"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("recap run --tasks x", "No such option"),
        ("recap run --preset", "requires an argument"),
        ("recap rum", "no command"),
        ("recap data", "no command"),
        ("recap data exprt --to x", "no command"),
        ("make rum", "no make target rum"),
        ("recap data export", "Missing option"),
    ],
)
def test_a_command_that_is_not_there_is_found(line: str, said: str) -> None:
    assert said in fault(line)


@pytest.mark.parametrize("text", ["recap list", "x = 1", "name: value"])
def test_a_block_that_no_table_knows_is_found(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_docs.blocks", lambda page: [Block(page, 7, text)])
    with pytest.raises(AssertionError, match=r"README\.md:7: no handler knows this block"):
        walk("README.md")
