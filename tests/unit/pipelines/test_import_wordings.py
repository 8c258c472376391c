"""What the robot was told: one wording for each episode, from its frames, kept through training and export."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.synthetic_lerobot import PROMPT, synthetic_dataset

from data.episodes import EpisodeStore
from data.tasks import TASKS
from pipelines.experience import wordings_of
from recap.errors import ConfigError

FOLD, STACK = "fold it", "stack it"
VERSIONS = pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])


def _told(tmp_path, result):
    """{number: what the episode was told}"""
    store = EpisodeStore(tmp_path / "w" / "episodes")
    numbers = sorted(result.ids)
    return dict(zip(numbers, wordings_of([store.rows([result.ids[n]])[0] for n in numbers]), strict=True))


def _table_of_tasks(root, texts, *, version):
    rows = [{"task_index": place, "task": text} for place, text in enumerate(texts)]
    if version == "v3.0":
        pq.write_table(pa.Table.from_pylist(rows), root / "meta/tasks.parquet")
    else:
        (root / "meta/tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _frames_told(root, choose):
    """Rewrites task_index of every frame."""
    for path in sorted(root.glob("data/*/*.parquet")):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row["task_index"] = choose(row["episode_index"], row["frame_index"])
        pq.write_table(pa.Table.from_pylist(rows), path)


def _meta_told(root, told):
    """Rewrites what meta says each episode was told; None drops it."""
    parquet = root / "meta/episodes/chunk-000/file-000.parquet"
    path = root / "meta/episodes.jsonl"
    v3 = parquet.is_file()
    rows = pq.read_table(parquet).to_pylist() if v3 else [json.loads(line) for line in path.read_text().splitlines()]
    for row, texts in zip(rows, told, strict=True):
        del row["tasks"]
        if texts is not None:
            row["tasks"] = texts
    if v3:
        pq.write_table(pa.Table.from_pylist(rows), parquet)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))


@VERSIONS
def test_each_episode_keeps_its_own_wording(tmp_path, take, version):
    root = synthetic_dataset(tmp_path / "d", version=version, instructions=[FOLD, STACK, FOLD])
    result = take(root)
    assert _told(tmp_path, result) == {0: FOLD, 1: STACK, 2: FOLD}
    assert result.wordings == {FOLD: 2, STACK: 1}
    assert TASKS.get("cubes").spec.prompt == FOLD, "the usual one"
    again = take(root)
    assert (again.imported, again.known) == (0, 3)


@VERSIONS
def test_frames_decide_by_majority_and_it_is_said(tmp_path, take, version):
    root = synthetic_dataset(tmp_path / "d", version=version)
    _table_of_tasks(root, [FOLD, STACK], version=version)
    _frames_told(root, lambda e, t: 1 if (e, t) in {(0, 0), (1, 0), (1, 1), (1, 2)} else 0)
    _meta_told(root, [[FOLD, STACK], [FOLD, STACK], [FOLD]])
    result = take(root)
    assert _told(tmp_path, result) == {0: FOLD, 1: STACK, 2: FOLD}
    assert result.mixed == [0, 1]


@VERSIONS
def test_several_instructions_without_a_table_of_tasks_ask_for_the_wording(tmp_path, take, version):
    root = synthetic_dataset(tmp_path / "d", version=version)
    _meta_told(root, [[FOLD, STACK], [FOLD], [FOLD]])
    with pytest.raises(ConfigError, match=f"episode 0 was told '{FOLD}', '{STACK}'; which of its frames") as refused:
        take(root)
    assert "--instruction TEXT" in refused.value.hint
    assert not (tmp_path / "w").exists()
    result = take(root, instruction="sort it")
    assert set(_told(tmp_path, result).values()) == {"sort it"}


def test_frames_and_meta_that_contradict_each_other_ask(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d", instructions=[FOLD] * 3)
    _table_of_tasks(root, [STACK, FOLD], version="v3.0")
    with pytest.raises(ConfigError, match=f"its frames were told '{STACK}', its meta says '{FOLD}'"):
        take(root)
    assert take(root, instruction=FOLD).imported == 3


def test_a_table_of_tasks_in_another_order_than_its_numbers_asks(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d", instructions=[FOLD, STACK, FOLD])
    rows = [{"task_index": 1, "task": STACK}, {"task_index": 0, "task": FOLD}]
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/tasks.parquet")
    with pytest.raises(ConfigError, match="task_index 1 stands in row 0, expected 0 there"):
        take(root)


@VERSIONS
@pytest.mark.parametrize("texts", [None, [], [""], ["  "]])
def test_no_instruction_is_asked_for_before_a_task_is_drafted(tmp_path, take, version, texts):
    root = synthetic_dataset(tmp_path / "d", version=version)
    _meta_told(root, [texts] * 3)
    with pytest.raises(ConfigError, match=r"3 of 3 episodes were told nothing \(0-2\)") as refused:
        take(root)
    assert "--instruction TEXT" in refused.value.hint
    assert not (tmp_path / "w").exists()
    assert take(root, instruction=FOLD).imported == 3
    assert TASKS.get("cubes").spec.prompt == FOLD
    assert (take(root).imported, take(root).known) == (0, 3), "a task that is described says it for all"


def test_some_silent_episodes_among_others_are_named(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d")
    take(root)
    _meta_told(root, [[FOLD], [""], [FOLD]])
    with pytest.raises(ConfigError, match=r"1 of 3 episodes were told nothing \(1\)"):
        take(root)


def test_another_wording_joins_a_known_task_with_its_own_words(tmp_path, take):
    take(synthetic_dataset(tmp_path / "d"))
    result = take(synthetic_dataset(tmp_path / "e", seed=1, instructions=[FOLD] * 3))
    assert TASKS.get("cubes").spec.prompt == PROMPT
    assert set(_told(tmp_path, result).values()) == {FOLD}
    assert result.wordings == {FOLD: 3}


def test_what_is_stored_is_not_reworded(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d")
    take(root)
    with pytest.raises(ConfigError, match="episode 0 is here already and was told the prompt of its task"):
        take(root, instruction=FOLD)
    assert take(root, instruction=PROMPT).known == 3


def test_only_what_was_told_something_is_taken_and_the_others_are_counted(tmp_path, take):
    root = synthetic_dataset(tmp_path / "d", instructions=[FOLD, STACK, FOLD])
    result = take(root, told=(STACK,))
    assert (sorted(result.ids), result.told_otherwise) == ([1], 2)
    assert TASKS.get("cubes").spec.prompt == STACK
    with pytest.raises(ConfigError, match="none of 3 episodes was told 'sing'"):
        take(root, told=("sing",))


def test_an_instruction_of_spaces_is_none(tmp_path, take):
    with pytest.raises(ConfigError, match="--instruction ' ': expected words"):
        take(synthetic_dataset(tmp_path / "d"), instruction=" ")
