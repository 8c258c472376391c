"""Every command and example of README.md, CONTRIBUTING.md and docs/ does what it says.

Each page is walked from top to bottom in a folder of its own with a finished run in it (`runs`). A block that no table
here knows fails the test: put it into the page's table, or into NOTATION or NOT_RUN with the reason.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from docs_pages import PAGES, ROOT, Block, blocks, fault, filled, required, spoken
from docs_reader import PLACEHOLDERS, RUN, Handler, Reader, lines
from docs_robots import (
    a_task_in_a_package,
    an_afternoon,
    env_yaml,
    leader_yaml,
    on_a_robot,
    recorded,
    robot_yaml,
    task_yaml,
)
from tests.support.serving import Robot
from tests.support.synthetic_lerobot import synthetic_dataset

from data.annotation import write_waiting
from data.lerobot_io.folder import open_folder
from data.task_file import read_task_file
from recap.workspace import Workspace

pytestmark = pytest.mark.timeout(600)
MICRO = "--preset micro --tracker none"
ONE_STEP = "--set pretrain.steps=1 --set policy.model.fit.steps=1 --set values.viva.fit.steps=1"

NOT_RUN = {
    "make run": "half an hour of training",
    "make smoke": "test_smoke.py runs it",
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

OF_PAGE = {"docs/annotation.md": {"P": "0"}}
"""{page: {placeholder: what it stands for there}}, where that is something else."""


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
    "docs/afternoon.md": {
        "id: tidy_desk": task_yaml,
        "type: so101_follower": robot_yaml,
        "type: so101_leader": leader_yaml,
        "robot: robot.yaml": env_yaml,
        "recap run": an_afternoon,
        "recap robot": an_afternoon,
        "recap report": lines(),
    },
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
OWN_WORKSPACE = ("docs/afternoon.md", "docs/datasets.md", "docs/robots.md", "docs/tasks.md", "docs/tracking.md")
"""Pages that begin with nothing."""
SLOW = (
    "docs/afternoon.md",
    "docs/annotation.md",
    "docs/compare.md",
    "docs/datasets.md",
    "docs/export.md",
    "docs/offline.md",
    "docs/robots.md",
    "docs/serve.md",
    "docs/study.md",
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
    return pytest.param(page, marks=[group, *([pytest.mark.slow, pytest.mark.timeout(1800)] if page in SLOW else [])])


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
