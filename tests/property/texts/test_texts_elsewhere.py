"""Hostile texts where other programs meet ours: files of theirs, tables, logs, pages, crontabs, networks, exports.

What is read back equals what was written, or a ConfigError says what is wrong.
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
from hostile import BLANK, HALVES, TEXTS
from tests.support.synthetic import synthetic_draft
from tests.support.synthetic_lerobot import synthetic_dataset

from data.annotation import read_outcomes_file
from data.episodes import EpisodeStore
from data.task_file import _TASK_FIELDS, read_task_file
from pipelines.datasets.export import export_dataset
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from pipelines.ledger import Ledger
from pipelines.report.filmstrip import film_strip
from pipelines.report.model import Command, Node, NodeState, Provenance, ReportData
from pipelines.report.write import write_report
from pipelines.schedule.entries import Job, entry_text, jobs_in, with_entry, without_entry
from policy.flow.vocabulary import decode, encode
from policy.models.pi05.prompt import PROMPT as FORM
from recap.errors import ConfigError
from recap.graph import NodeName
from recap.hashing import canonical_json
from recap.journal import FileJournal, read_journal
from recap.specs import CameraSpec, RobotSpec, TaskSpec
from recap.types import Source
from recap.workspace import Workspace

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
    positive_fraction=0.4,
    reset_s=0.0,
    success="done",
)
EVERY = (*TEXTS, *BLANK, *HALVES)
PROMPT = "\u202e\U0001f600 <b>&amp; {{ 7 }}"


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


def _described(text: str) -> tuple[TaskSpec, RobotSpec]:
    """A task of which everything free is `text`."""
    robot = replace(ROBOT, id=text, state_names=(text, f"{text}'"), action_names=(text,), action_units=(text,))
    return replace(SPEC, prompt=text, success=text, robot=text), robot


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
    for text in EVERY:
        spec, robot = _described(text)
        value = {name: getattr(spec, name) for name in SPEC.__dataclass_fields__ if name not in ("robot", "start")}
        value["robot"] = {
            **{n: list(v) if isinstance(v := getattr(robot, n), tuple) else v for n in ROBOT.__dataclass_fields__},
            "cameras": {"top": [8, 8]},
        }
        # A byte order mark, as some editors write it, is no part of the file's text.
        value = {name: inner for name, inner in value.items() if name in _TASK_FIELDS}
        content = write(value)
        if writer == "yaml" and text not in HALVES and yaml.safe_load(content) != value:
            lost.append(text)
            continue
        path.write_bytes(f"\ufeff{content}".encode(errors="surrogatepass"))
        with _legal_if(text in TEXTS, text):
            task = read_task_file(path)
            assert (task.spec, task.robot) == (spec, robot)
    assert set(lost) <= {"a\u0085b", "a\u2028b", "a\u2029b"}, "PyYAML breaks lines there that it does not put together"


@pytest.mark.slow
def test_an_episode_keeps_robot_policy_and_instruction_and_a_camera_has_a_plain_name(tmp_path: Path) -> None:
    store, kept = EpisodeStore(tmp_path), {}
    base = synthetic_draft(0, length=2, cameras=("top",), height=8, width=8, source=Source.ROLLOUT)
    for text in EVERY:
        with _legal_if(text in TEXTS, text):
            kept[store.commit(replace(base, robot=text, policy_id=text, instruction=text))] = text
        legal = text.isascii() and text.replace("_", "").replace(".", "").replace("-", "").isalnum()
        with _legal_if(legal and text[:1] not in (".", "-") and len(text) <= 100, text):
            store.commit(replace(base, frames={text: base.frames["top"]}))
    assert sorted(kept.values()) == sorted(TEXTS)
    for where in ("as appended", "as rebuilt"):
        rows = {row.id: row for row in store.rows()}
        for episode_id, text in kept.items():
            row, episode = rows[episode_id], store.load(episode_id)
            assert (row.robot, row.policy_id, row.instruction) == (text, text, text), where
            assert (episode.robot, episode.policy_id, episode.instruction) == (text, text, text)
        store.rebuild_index()


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_notes_of_an_outcomes_file_are_kept(tmp_path: Path, kind: str) -> None:
    ids = [f"{n:064x}" for n in range(len(EVERY))]
    rows = [
        {"episode_id": episode_id, "outcome": "success", "note": text}
        for episode_id, text in zip(ids, EVERY, strict=True)
        if text not in HALVES
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
    for text in EVERY:
        ledger.append({"key": text, "text": text})
        journal.at(text).event("said", text=text)
        assert json.loads(canonical_json({text: text})) == {text: text}
    assert ledger.rows() == {text: {"key": text, "text": text} for text in EVERY}
    records, _ = read_journal(journal.path)
    assert [(record["node"], record["text"]) for record in records] == [(text, text) for text in EVERY]


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
                name=NodeName(place, "policy"), step="policy", state=NodeState.FAILED, seconds=1.0, attempts=1, key="",
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
    page = write_report(_report_of(EVERY, PROMPT), tmp_path / "hostile").read_bytes().decode()
    found = _Words(page)
    assert (found.tags, found.attributes) == (plain.tags, plain.attributes), "a text became markup"
    assert PROMPT in found.texts
    shown = set(found.texts)
    for text in EVERY:
        # Half of a character is spelled out.
        assert not text or text.encode(errors="backslashreplace").decode() in shown, repr(text)


def test_a_picture_takes_any_mark_and_stays_small() -> None:
    film = np.zeros((2, 48, 48, 3), np.uint8)
    usual = film_strip(film, marks=[(0, "grasp", 1)])
    for text in EVERY:
        assert film_strip(film, marks=[(0, text, -1)]).shape == usual.shape


def test_a_scheduled_run_is_found_again_or_refused() -> None:
    foreign = "0 1 * * * backup '" + "".join(text for text in EVERY if text not in HALVES and "\n" not in text) + "'\n"
    for text in EVERY:
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
    for text in TEXTS:
        whole = FORM.text(text, [128, 128, 128], condition="Advantage: positive")
        assert decode(encode(whole)) == whole
        for row in FORM.tokens(text, state, condition="Advantage: positive"):
            assert row.tolist() == encode(whole)
    embedded = embed_prompts(TEXTS, tokens=500, dim=8, file="")
    assert set(embedded) == set(TEXTS)
    with pytest.raises(ConfigError, match="words"):
        embed_prompts(["long " * 400], tokens=8, dim=8, file="")


def test_numbers_of_the_state_are_those_after_the_last_marker() -> None:
    import torch

    from policy.flow.network import number_slots

    tokens = torch.from_numpy(FORM.tokens("sort, State: 1 2 3", np.zeros((1, 4), np.float32)))
    slots = number_slots(tokens)[0]
    assert slots[slots > 0].tolist() == [1, 2, 3, 4]
    assert (slots > 0).sum() == 4


def _taken(root: Path, dataset: Path, **more: Any) -> Any:
    request = ImportRequest(dataset=dataset, task="cubes", **more)
    return import_dataset(root, request, lambda line: None)


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
    if name in HALVES:
        with pytest.raises(ConfigError, match="workspace: what is no character"):
            Workspace.open(tmp_path / name)
        (tmp_path / "d").rename(tmp_path / name)
        with pytest.raises(ConfigError, match="dataset folder: what is no character"):
            _taken(tmp_path / "w", tmp_path / name)
