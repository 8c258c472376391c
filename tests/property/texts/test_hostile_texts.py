"""A hundred and more hostile texts in every place where a text can stand: each comes back equal, or is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import BLANK, HALVES, TEXTS
from tests.support.synthetic import synthetic_draft
from tests.support.synthetic_lerobot import synthetic_dataset

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from data.task_file import read_task_file, write_task_file
from data.tasks import TASKS
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from pipelines.experience import wordings_of
from recap.errors import ConfigError
from recap.specs import CameraSpec, RobotSpec, TaskSpec
from recap.types import Annotation, Outcome
from recap.workspace import Workspace, check_name

SPEC = TaskSpec(
    id="cubes", prompt="p", robot="r", max_steps=5, rate_hz=10.0, lookahead_s=1.0, positive_fraction=0.4, reset_s=1.0,
    success="s",
)  # fmt: skip
ROBOT = RobotSpec(
    id="r", state_names=("a", "b"), action_names=("a", "b"), action_units=("rad", "rad"), gripper_dims=(),
    cameras=(CameraSpec(name="front", height=8, width=8),),
)  # fmt: skip
SMALL = {"lengths": (1,), "size": (8, 8), "dims": (2, 2), "pictures": "image"}


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch):
    monkeypatch.setenv("RECAP_TASKS", "")


def _refused(act) -> bool:
    """Whether it is refused, in words."""
    try:
        act()
    except ConfigError as error:
        return bool(error.message)
    return False


def test_there_are_a_hundred():
    assert len(TEXTS) >= 100


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize("role", ["prompt", "success", "robot", "state", "action", "unit", "camera"])
def test_task_files_give_every_text_back(tmp_path, role, suffix):
    told = 0
    for text in TEXTS:
        spec = replace(SPEC, **{role: text}) if role in ("prompt", "success", "robot") else SPEC
        robot = {
            "robot": replace(ROBOT, id=text),
            "state": replace(ROBOT, state_names=(text, "b")),
            "action": replace(ROBOT, action_names=(text, "b")),
            "unit": replace(ROBOT, action_units=(text, "m")),
            "camera": replace(ROBOT, cameras=(CameraSpec(name=text, height=8, width=8),)),
        }.get(role, ROBOT)
        path = tmp_path / f"cubes{suffix}"
        path.unlink(missing_ok=True)
        if suffix == ".json":
            _write_json(path, spec, robot)
            if _refused(lambda path=path: read_task_file(path)):
                continue
        elif _refused(lambda path=path, spec=spec, robot=robot: write_task_file(path, spec, robot)):
            assert not path.exists()
            continue
        found = read_task_file(path)
        assert (found.spec, found.robot) == (replace(spec, robot=robot.id), robot), repr(text)
        told += 1
    assert told >= (10 if role == "camera" else len(TEXTS) - 3), "nearly every one is legal there"


def _write_json(path, spec, robot):
    fields = {name: getattr(spec, name) for name in ("id", "prompt", "max_steps", "rate_hz", "lookahead_s")}
    fields |= {name: getattr(spec, name) for name in ("positive_fraction", "reset_s", "success")}
    fields["robot"] = {
        "id": robot.id,
        "state_names": robot.state_names,
        "action_names": robot.action_names,
        "action_units": robot.action_units,
        "gripper_dims": [],
        "cameras": {camera.name: [camera.height, camera.width] for camera in robot.cameras},
    }
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize("text", [*HALVES, *BLANK])
def test_what_is_no_text_or_no_words_is_refused_and_writes_nothing(tmp_path, text):
    path = tmp_path / "cubes.yaml"
    assert _refused(lambda: write_task_file(path, replace(SPEC, prompt=text), ROBOT))
    assert not path.exists()
    _write_json(path.with_suffix(".json"), replace(SPEC, prompt=text), ROBOT)
    assert _refused(lambda: read_task_file(path.with_suffix(".json")))
    draft = replace(synthetic_draft(0, length=2), instruction=text)
    assert _refused(lambda: EpisodeStore(tmp_path / "episodes").commit(draft))


def _take(root, workspace, **asked):
    request = ImportRequest(**{"dataset": root, "task": "cubes", "jpeg_quality": None, **asked})
    return import_dataset(workspace, request, lambda line: None)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_instructions_of_a_dataset_are_kept_as_they_are(tmp_path, version):
    shape = {**SMALL, "lengths": (1,) * len(TEXTS)}
    root = synthetic_dataset(tmp_path / "d", version=version, instructions=TEXTS, **shape)
    table = [{"task_index": place, "task": text} for place, text in enumerate(sorted(TEXTS))]
    if version == "v3.0":
        pq.write_table(pa.Table.from_pylist(table), root / "meta/tasks.parquet")
    else:
        (root / "meta/tasks.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in table))
    result = _take(root, tmp_path / "w")
    store = EpisodeStore(tmp_path / "w" / "episodes")
    rows = [store.rows([result.ids[number]])[0] for number in range(len(TEXTS))]
    assert wordings_of(rows) == TEXTS
    assert TASKS.get("cubes").spec.prompt == TEXTS[0]
    # Once from the index, once from the files themselves.
    assert [store.load(row.id).instruction for row in rows] == [row.instruction for row in rows]
    again = _take(root, tmp_path / "w")
    assert (again.imported, again.known) == (0, len(TEXTS))


def _info(root: Path, change) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize("role", [*(pytest.param(it, marks=pytest.mark.slow) for it in ("words", "column")), "camera"])
def test_names_of_a_dataset_are_kept_or_refused(tmp_path, role):
    whole = synthetic_dataset(tmp_path / "whole", version="v2.1", **SMALL)
    kept = 0
    for number, text in enumerate(TEXTS):
        root, workspace, asked = tmp_path / f"d{number}", tmp_path / f"w{number}", {}
        shutil.copytree(whole, root)
        if role == "words":
            asked = {"robot": text, "source": "rollout", "policy": text}
            _info(root, lambda info, text=text: _named(info, [text, "b"]))
        elif role == "column":
            _rename(root, "observation.state", text)
            asked = {"state": (text,)}
        else:
            _rename(root, "observation.images.front", f"observation.images.{text}")
        if _refused(lambda root=root, workspace=workspace, asked=asked: _take(root, workspace, **asked)):
            assert not workspace.exists(), repr(text)
            continue
        kept += 1
        task, (row,) = TASKS.get("cubes"), EpisodeStore(workspace / "episodes").rows()
        found = {
            "words": {row.robot, task.robot.id, row.policy_id, task.robot.state_names[0]},
            "camera": {row.cameras[0], task.robot.cameras[0].name},
            "column": {text},
        }[role]
        assert found == {text}
        shutil.rmtree(workspace)
    assert kept >= (10 if role == "camera" else len(TEXTS) - 8)


def _named(info, names):
    info["features"]["observation.state"]["names"] = names
    return info


def _rename(root, old, new):
    def change(info):
        return {**info, "features": {new if name == old else name: f for name, f in info["features"].items()}}

    _info(root, change)
    for path in root.glob("data/*/*"):
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([new if name == old else name for name in table.column_names]), path)


@pytest.mark.slow
def test_folders_may_have_any_name_that_the_file_system_takes(tmp_path):
    whole = synthetic_dataset(tmp_path / "whole", version="v2.1", **SMALL)
    taken = 0
    for text in TEXTS:
        root, workspace = tmp_path / "d" / text, tmp_path / "w" / text
        try:
            shutil.copytree(whole, root)
        except (OSError, ValueError, shutil.Error):
            continue  # "..", a NUL, a name that is too long
        if root.resolve().parent != (tmp_path / "d").resolve():
            continue
        taken += not _refused(lambda root=root, workspace=workspace: _take(root, workspace))
    assert taken >= 100


def test_task_ids_are_plain_or_refused(tmp_path):
    legal = [text for text in TEXTS if not _refused(lambda text=text: check_name("task", text))]
    assert legal
    assert all(text.isascii() and "/" not in text and text not in (".", "..") for text in legal)
    root = synthetic_dataset(tmp_path / "d", version="v2.1", **SMALL)
    for text in set(TEXTS) - set(legal):
        assert _refused(lambda text=text: _take(root, tmp_path / "w", task=text)), repr(text)
    assert not (tmp_path / "w").exists()
    for text in legal:
        assert _take(root, tmp_path / "w", task=text).imported == 1
        assert TASKS.get(text).spec.id == text


def test_notes_of_labels_come_back(tmp_path):
    ids = [f"{number:064x}" for number in range(len(TEXTS))]
    book = LabelBook(tmp_path)
    for episode, text in zip(ids, TEXTS, strict=True):
        book.record(Annotation(episode_id=episode, outcome=Outcome.SUCCESS, note=text), by=text)
    found = LabelBook(tmp_path).annotations()
    assert [found[episode].note for episode in ids] == list(TEXTS)
    for text in HALVES:
        assert _refused(
            lambda text=text: book.record(Annotation(episode_id=ids[0], outcome=Outcome.SUCCESS, note=text), by="a")
        )


@pytest.mark.xdist_group("mlflow")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_mlflow_gives_params_and_tags_back(tmp_path):
    from mlflow.tracking import MlflowClient

    from pipelines.trackers.client import Client

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Client(uri, "texts", tmp_path)
    run = client.create("run", 0.0, {f"t{number}": text for number, text in enumerate(TEXTS)})
    client.params(run, {f"p{number}": text for number, text in enumerate(TEXTS)})
    client.params(run, dict.fromkeys(TEXTS, "a name"))
    client.metrics(run, [])
    found = MlflowClient(tracking_uri=uri).get_run(run).data
    assert [found.tags[f"t{number}"] for number in range(len(TEXTS))] == list(TEXTS)
    assert [found.params[f"p{number}"] for number in range(len(TEXTS))] == list(TEXTS)
    assert list(found.params.values()).count("a name") == len(TEXTS), "each under a name of its own"


def test_a_report_shows_them_and_runs_none(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "unit" / "report"))
    from made_up_run import complete_run
    from page_parser import Page

    from pipelines.report.sections import SECTIONS
    from pipelines.report.write import render

    usual = complete_run()
    plain = {chosen: [tag for tag, _ in Page(render(usual, chosen)).tags] for chosen in ((), SECTIONS)}
    for text in TEXTS:
        # Whole pages are large: those of the texts that mean something to a browser or a template.
        chosen = SECTIONS if set(text) & set("<&{") else ()
        page = render(replace(usual, prompt=text, success_definition=text, task=text), chosen)
        read = Page(page)
        assert [tag for tag, _ in read.tags] == plain[chosen], repr(text)
        # A page has one kind of line end and no NUL; white space runs together.
        shown = " ".join(text.replace("\x00", "").split()).replace("\u00a0", " ")
        assert shown in read.text.replace("\x00", "").replace("\ufffd", ""), repr(text)


def test_workspaces_whose_path_is_no_text_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="workspace: what is no character"):
        Workspace.open(f"{tmp_path}/\udce9t\udce9")
    assert np.array_equal(list(tmp_path.iterdir()), [])


def test_task_files_are_found_below_any_folder(tmp_path):
    from recap.task_folders import offer, offered

    roots = [tmp_path / text for text in TEXTS if not set(text) & set("/\x00") and len(text.encode()) < 200]
    roots = [root for root in roots if root.name not in ("", ".", "..")]
    for root in roots:
        offer(root)
    assert list(offered()) == [root / "tasks" for root in reversed(list(dict.fromkeys(roots)))]


def test_an_error_that_quotes_what_is_no_text_can_be_printed():
    for text in (*TEXTS, *HALVES):
        assert str(ConfigError(f"folder {text}", hint=text)).encode()
