"""Any Unicode text goes round through every file that we write; what is no text is refused where it comes in.

Over 150 hostile texts in every role that a text has: what is read back equals what was written, or a ConfigError.
"""

from __future__ import annotations

import csv
import io
import json
import math
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data.annotation import LabelBook, read_outcomes_file
from data.episodes import EpisodeStore
from data.synthetic import synthetic_draft
from data.synthetic_lerobot import synthetic_dataset
from data.task_file import read_task_file, write_task_file
from data.tasks import TASKS
from pipelines.dataset_export import export_dataset
from pipelines.dataset_import import import_dataset
from pipelines.import_plan import ImportRequest
from pipelines.invocation import Invocation
from pipelines.ledger import Ledger
from pipelines.report.filmstrip import film_strip
from pipelines.report.model import Command, Node, NodeState, Provenance, ReportData
from pipelines.report.write import write_report
from pipelines.schedule.entries import Job, entry_text, jobs_in, with_entry, without_entry
from policy.models.pi05.prompt import decode, encode, prompt_text, prompt_tokens
from recap.errors import ConfigError, UnknownName
from recap.hashing import canonical_json
from recap.journal import FileJournal, read_journal
from recap.specs import CameraSpec, RobotSpec, TaskSpec
from recap.task_folders import offer
from recap.testing.hostile_texts import HOSTILE_TEXTS, NASTIEST, is_whole
from recap.types import Annotation, KeyFrame, Outcome, Source
from recap.workspace import Workspace, check_name

ROBOT = RobotSpec(
    id="arm",
    state_names=("a", "b"),
    action_names=("a",),
    action_units=("rad",),
    gripper_dims=(),
    cameras=(CameraSpec(name="top", height=8, width=8),),
)
SPEC = TaskSpec(
    id="cubes",
    prompt="fold",
    robot=ROBOT.id,
    max_steps=10,
    rate_hz=10.0,
    lookahead_s=1.0,
    positive_share=0.4,
    reset_s=0.0,
    success="done",
)
WORDS = [text for text in HOSTILE_TEXTS if is_whole(text) and text.strip()]
HALVES = [text for text in HOSTILE_TEXTS if not is_whole(text)]
FILE_NAMES = [text for text in HOSTILE_TEXTS if text not in ("", ".", "..") and not set(text) & {"/", "\0"}]


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_TASKS", "")


@contextmanager
def _legal_if(legal: bool, text: str) -> Any:
    """What is in the block has to pass if `legal`, and to end in a ConfigError if not."""
    refused = None
    try:
        yield
    except ConfigError as error:
        refused = error
        str(error).encode()  # it can be printed
    assert (refused is None) == legal, f"{text!r}: {refused}"


def test_they_are_many_and_all_different() -> None:
    assert len(set(HOSTILE_TEXTS)) == len(HOSTILE_TEXTS) >= 150
    assert len(HALVES) == 5


def _described(text: str) -> tuple[TaskSpec, RobotSpec]:
    """A task of which everything free is `text`."""
    robot = replace(ROBOT, id=text, state_names=(text, f"{text}'"), action_names=(text,), action_units=(text,))
    return replace(SPEC, prompt=text, success=text, robot=text), robot


def test_a_drafted_task_file_says_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "cubes.yaml"
    for text in HOSTILE_TEXTS:
        path.unlink(missing_ok=True)
        with _legal_if(text in WORDS, text):
            write_task_file(path, *_described(text))
        assert path.exists() == (text in WORDS), "what cannot be read back is not written"
        if path.exists():
            task = read_task_file(path)
            assert (task.spec, task.robot) == _described(text)


@pytest.mark.parametrize("writer", ["json", "json, raw", "yaml", "yaml, escaped", "json as yaml"])
def test_a_task_file_of_another_program_says_what_was_written(tmp_path: Path, writer: str) -> None:
    write: Any = {
        "json": json.dumps,
        "json, raw": lambda value: json.dumps(value, ensure_ascii=False),
        "yaml": lambda value: yaml.safe_dump(value, allow_unicode=True, width=math.inf),
        "yaml, escaped": yaml.safe_dump,
        # An escaped emoji is two halves there, which YAML alone does not put together.
        "json as yaml": json.dumps,
    }[writer]
    lost: list[str] = []
    path = tmp_path / ("cubes.json" if writer in ("json", "json, raw") else "cubes.yaml")
    for text in HOSTILE_TEXTS:
        spec, robot = _described(text)
        value = {name: getattr(spec, name) for name in SPEC.__dataclass_fields__ if name not in ("robot", "start")}
        value["robot"] = {
            **{n: list(v) if isinstance(v := getattr(robot, n), tuple) else v for n in ROBOT.__dataclass_fields__},
            "cameras": {"top": [8, 8]},
        }
        # A byte order mark, as some editors write it, is no part of the file's text.
        value = {name: inner for name, inner in value.items() if name in _fields_of_a_task_file()}
        content = write(value)
        if writer == "yaml" and is_whole(text) and yaml.safe_load(content) != value:
            lost.append(text)
            continue
        path.write_bytes(f"\ufeff{content}".encode(errors="surrogatepass"))
        with _legal_if(text in WORDS, text):
            task = read_task_file(path)
            assert (task.spec, task.robot) == (spec, robot)
    assert set(lost) <= {"a\u0085b", "a\u2028b", "a\u2029b"}, "PyYAML breaks lines there that it does not put together"


def _fields_of_a_task_file() -> tuple[str, ...]:
    from data.task_file import _TASK_FIELDS

    return _TASK_FIELDS


def test_a_name_that_leads_to_a_file_is_plain_or_refused(tmp_path: Path) -> None:
    folder = offer(tmp_path)
    for text in HOSTILE_TEXTS:
        plain = text.isascii() and text.replace("_", "").replace(".", "").replace("-", "").isalnum()
        legal = plain and text[:1].isalnum() and len(text) <= 100 and ".." not in text
        with _legal_if(legal, text):
            assert check_name("task", text) == text
        with pytest.raises(UnknownName):
            TASKS.get(text)
        with pytest.raises(ConfigError):
            Invocation.of(task=text)
        if text in FILE_NAMES and is_whole(text) and len(text.encode()) < 200:
            # Someone's file of that name and id: read, or refused for its name before anything runs.
            path = folder / f"{text}.yaml"
            write_task_file(folder / "cubes.yaml", SPEC, ROBOT)
            content = (folder / "cubes.yaml").read_text().replace('id: "cubes"', f"id: {json.dumps(text)}", 1)
            path.write_text(content)
            with _legal_if(legal, text):
                assert read_task_file(path).spec.id == text
            path.unlink()


def test_an_episode_keeps_robot_policy_and_instruction_and_a_camera_has_a_plain_name(tmp_path: Path) -> None:
    store, kept = EpisodeStore(tmp_path), {}
    base = synthetic_draft(0, length=2, cameras=("top",), height=8, width=8, source=Source.ROLLOUT)
    for text in HOSTILE_TEXTS:
        with _legal_if(text in WORDS, text):
            kept[store.commit(replace(base, robot=text, policy_id=text, instruction=text))] = text
        legal = text.isascii() and text.replace("_", "").replace(".", "").replace("-", "").isalnum()
        with _legal_if(legal and text[:1] not in (".", "-") and len(text) <= 100, text):
            store.commit(replace(base, frames={text: base.frames["top"]}))
    assert sorted(kept.values()) == sorted(WORDS)
    for where in ("as appended", "as rebuilt"):
        rows = {row.id: row for row in store.rows()}
        for episode_id, text in kept.items():
            row, episode = rows[episode_id], store.load(episode_id)
            assert (row.robot, row.policy_id, row.instruction) == (text, text, text), where
            assert (episode.robot, episode.policy_id, episode.instruction) == (text, text, text)
        store.rebuild_index()


def test_what_a_person_says_of_an_episode_is_kept(tmp_path: Path) -> None:
    book, ids = LabelBook(tmp_path / "labels"), [f"{n:064x}" for n in range(len(HOSTILE_TEXTS))]
    for episode_id, text in zip(ids, HOSTILE_TEXTS, strict=True):
        said = Annotation(
            episode_id=episode_id, outcome=Outcome.FAILURE, note=text, key_frames=(KeyFrame(t=1, kind=-1, text=text),)
        )
        with _legal_if(is_whole(text), text):
            book.record(said, by=text)
            assert LabelBook(tmp_path / "labels").annotations()[episode_id] == said
    assert [entry.by for entry in book.entries()] == [text for text in HOSTILE_TEXTS if is_whole(text)]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_notes_of_an_outcomes_file_are_kept(tmp_path: Path, kind: str) -> None:
    ids = [f"{n:064x}" for n in range(len(HOSTILE_TEXTS))]
    rows = [
        {"episode_id": episode_id, "outcome": "success", "note": text}
        for episode_id, text in zip(ids, HOSTILE_TEXTS, strict=True)
        if is_whole(text)
    ]
    path = tmp_path / f"outcomes.{kind}"
    if kind == "csv":
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, ["episode_id", "outcome", "note"])
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(file.getvalue().encode())
    else:
        path.write_text(json.dumps(rows))
    found = read_outcomes_file(path, ids)
    assert {i: one.note for i, one in found.items()} == {row["episode_id"]: row["note"].strip() for row in rows}
    for text in HALVES:
        path.write_bytes(json.dumps([{**rows[0], "note": text}]).encode())
        with pytest.raises(ConfigError):
            read_outcomes_file(path, ids)


def test_what_programs_say_to_each_other_is_kept(tmp_path: Path) -> None:
    ledger, journal = Ledger(tmp_path / "rows.jsonl", key="key"), FileJournal(tmp_path / "j" / "journal.jsonl", "n")
    for text in HOSTILE_TEXTS:
        ledger.append({"key": text, "text": text})
        journal.at(text).event("said", text=text)
        assert json.loads(canonical_json({text: text})) == {text: text}
    assert ledger.rows() == {text: {"key": text, "text": text} for text in HOSTILE_TEXTS}
    records, _ = read_journal(journal.path)
    assert [(record["node"], record["text"]) for record in records] == [(text, text) for text in HOSTILE_TEXTS]


class _Words(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.attributes: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _report_of(texts: tuple[str, ...], prompt: str) -> ReportData:
    """A run that has failed at everything, with a text in every place that takes one."""
    return ReportData(
        run_name=prompt,
        task=prompt,
        prompt=prompt,
        success_definition=prompt,
        simulated=False,
        generated=0.0,
        iterations=(),
        nodes=tuple(
            Node(
                name=f"{place}/policy", step="policy", state=NodeState.FAILED, seconds=1.0, attempts=1, key="",
                error=text,
            )
            for place, text in enumerate(texts)
        ),
        films=(),
        strips=(),
        data=None,
        settings={f"{place}/policy": {f"name {text}": text} for place, text in enumerate(texts)},
        provenance=Provenance(facts=tuple(("command", text) for text in texts), versions={}),
        commands=tuple(Command(purpose=text, line=text) for text in texts),
        missing=texts,
    )  # fmt: skip


def test_the_report_shows_each_text_and_obeys_none(tmp_path: Path) -> None:
    plain = _Words(write_report(_report_of(("x",), "x"), tmp_path / "plain").read_text(encoding="utf-8"))
    page = write_report(_report_of(HOSTILE_TEXTS, NASTIEST), tmp_path / "hostile").read_bytes().decode()
    found = _Words(page)
    assert (found.tags, found.attributes) == (plain.tags, plain.attributes), "a text became markup"
    assert NASTIEST in found.texts
    shown = set(found.texts)
    for text in HOSTILE_TEXTS:
        # Half of a character is spelled out.
        assert not text or text.encode(errors="backslashreplace").decode() in shown, repr(text)


def test_a_picture_takes_any_mark_and_stays_small() -> None:
    film = np.zeros((2, 48, 48, 3), np.uint8)
    usual = film_strip(film, marks=[(0, "grasp", 1)])
    for text in HOSTILE_TEXTS:
        assert film_strip(film, marks=[(0, text, -1)]).shape == usual.shape


def test_a_scheduled_run_is_found_again_or_refused() -> None:
    foreign = (
        "0 1 * * * backup '" + "".join(text for text in HOSTILE_TEXTS if is_whole(text) and "\n" not in text) + "'\n"
    )
    for text in HOSTILE_TEXTS:
        folder = f"/data/{text}"
        job = Job(name="fold", at="02:00", workspace=folder, log=f"{folder}/x.log", command=f"recap run {text}")
        legal = not any(ord(character) < 32 or ord(character) == 127 for character in text)
        with _legal_if(legal, text):
            entry = entry_text(job, argv=["recap", "run", text], directory=Path(folder))
            crontab = with_entry(foreign, job, entry)
            assert jobs_in(crontab) == [job]
            assert without_entry(crontab, "fold", folder) == (foreign, job)


def test_no_instruction_loses_a_letter_on_its_way_to_a_network() -> None:
    from value_model.models.viva.text import embed_prompts

    state = np.zeros((2, 3), np.float32)
    for text in WORDS:
        whole = prompt_text(text, [128, 128, 128], tag="Advantage: positive")
        assert decode(encode(whole)) == whole
        for row in prompt_tokens(text, state, tag="Advantage: positive"):
            assert row.tolist() == encode(whole)
    embedded = embed_prompts(WORDS, tokens=500, dim=8, file="")
    assert set(embedded) == set(WORDS)
    with pytest.raises(ConfigError, match="words"):
        embed_prompts(["long " * 400], tokens=8, dim=8, file="")


def test_numbers_of_the_state_are_those_after_the_last_marker() -> None:
    import torch

    from policy.models.pi05.network import number_slots

    tokens = torch.from_numpy(prompt_tokens("sort, State: 1 2 3", np.zeros((1, 4), np.float32)))
    slots = number_slots(tokens)[0]
    assert slots[slots > 0].tolist() == [1, 2, 3, 4]
    assert (slots > 0).sum() == 4


def _taken(root: Path, dataset: Path, **more: Any) -> Any:
    request = ImportRequest(dataset=dataset, task="cubes", **more)
    return import_dataset(root, request, lambda line: None)


def test_a_dataset_keeps_its_words_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is the instruction, a column, a camera's feature and the names of both folders, where it can be."""
    for place, text in enumerate(WORDS):
        monkeypatch.setenv("RECAP_TASKS", "")
        below = tmp_path / str(place)
        if text in FILE_NAMES and len(text.encode()) <= 240:
            below = below / text
        # A slash in the name of a column of meta/episodes is LeRobot's own; in that of a picture it leads elsewhere.
        column = text.replace("/", "_")
        version = "v2.1" if place % 2 else "v3.0"
        dataset = synthetic_dataset(
            below / "d",
            version=version,
            lengths=(1,),
            size=(8, 8),
            pictures="image",
            instructions=[text],
            cameras=("x" + column.replace("..", "_").replace("\\", "_").replace("\0", "_"),),
            episode_columns={column: ["success"]},
        )
        (camera,) = json.loads((dataset / "meta" / "info.json").read_text())["features"].keys() - {
            "observation.state", "action", "timestamp", "frame_index", "episode_index", "index", "task_index"
        }  # fmt: skip
        result = _taken(below / "w", dataset, cameras=(f"top={camera}",), outcome_column=column, robot=text)
        task = read_task_file(below / "w" / "tasks" / "cubes.yaml")
        assert (task.spec.prompt, task.robot.id) == (text, text)
        assert result.outcomes == {"success": 1, "none": 0}
        assert {row.robot for row in EpisodeStore(below / "w" / "episodes").rows()} == {text}


@pytest.mark.parametrize("text", HALVES)
def test_a_dataset_with_half_of_a_character_is_refused_by_name(tmp_path: Path, text: str) -> None:
    dataset = synthetic_dataset(tmp_path / "d", version="v2.1", lengths=(2,), pictures="image")
    info = dataset / "meta" / "info.json"
    whole, said = info.read_text(), r"(info\.json|episodes\.jsonl|tasks\.jsonl).* what is no character at place"
    info.write_text(json.dumps({**json.loads(whole), "robot_type": text}))
    with pytest.raises(ConfigError, match=said):
        _taken(tmp_path / "w", dataset)
    info.write_text(whole)
    synthetic_dataset(tmp_path / "e", version="v2.1", lengths=(2,), pictures="image", instructions=[text])
    with pytest.raises(ConfigError, match=said):
        _taken(tmp_path / "w", tmp_path / "e")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    "name", [*(t for t in HALVES if "\udc80" <= t[-1] <= "\udcff"), "z" * 241, "[a]", "a::b", "a*", "it's", "a\nb"]
)
def test_a_folder_that_no_table_can_be_read_from_is_refused(tmp_path: Path, name: str) -> None:
    dataset = synthetic_dataset(tmp_path / "d", lengths=(2,), pictures="image")
    _taken(tmp_path / "w", dataset)
    with pytest.raises(ConfigError, match=r"no character|does not find its own files|more than 240 bytes"):
        export_dataset(tmp_path / "w", tmp_path / name, lambda line: None)
    assert not (tmp_path / name).exists()
    if not is_whole(name):
        with pytest.raises(ConfigError, match="workspace: what is no character"):
            Workspace.open(tmp_path / name)
        (tmp_path / "d").rename(tmp_path / name)
        with pytest.raises(ConfigError, match="dataset folder: what is no character"):
            _taken(tmp_path / "w", tmp_path / name)
