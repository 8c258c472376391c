"""What goes into the store comes out of it, and nothing that breaks the contract goes in."""

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.support.synthetic import CAMERAS, synthetic_draft, synthetic_truth

from data.episode_file import header_of, read_header
from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from recap.errors import ConfigError, UnknownName
from recap.types import Event, Outcome, Source


@pytest.fixture
def store(tmp_path):
    return EpisodeStore(tmp_path / "episodes")


def test_an_episode_comes_back_whole(store):
    draft = synthetic_draft(3, length=25)
    episode = store.load(store.commit(draft))
    for name in ("task", "robot", "source", "policy_id", "rate_hz", "start_seed", "renderer", "software"):
        assert getattr(episode, name) == getattr(draft, name)
    for name in ("state", "action", "intervened"):
        np.testing.assert_array_equal(getattr(episode, name), getattr(draft, name))
        assert getattr(episode, name).dtype == getattr(draft, name).dtype
    assert list(episode.frames) == list(CAMERAS)
    for camera in CAMERAS:
        np.testing.assert_array_equal(episode.frames[camera], draft.frames[camera])


def test_one_file_per_episode_and_no_leftover(store):
    episode_id = store.commit(synthetic_draft(0), synthetic_truth(synthetic_draft(0)))
    files = sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())
    assert [f for f in files if not f.startswith("index/")] == [
        f"shirt_folding/{episode_id}.zip",
        f"truth/{episode_id}.json",
    ]


def test_the_truth_is_not_in_the_episode_file(store):
    draft = synthetic_draft(0)
    with_truth = EpisodeStore(store.root / "a")
    without = EpisodeStore(store.root / "b")
    a = with_truth.commit(draft, synthetic_truth(draft))
    b = without.commit(draft)
    assert with_truth.path(a).read_bytes() == without.path(b).read_bytes()


def test_the_truth_comes_back_bit_for_bit(store):
    draft = synthetic_draft(5)
    truth = synthetic_truth(draft, Outcome.FAILURE)
    kept = store.truth(store.commit(draft, truth))
    np.testing.assert_array_equal(kept.progress, truth.progress)
    assert kept.progress.dtype == np.float32
    np.testing.assert_array_equal(kept.stage, truth.stage)
    assert (kept.events, kept.outcome) == (truth.events, Outcome.FAILURE)
    assert kept.metrics["error_m"] == truth.metrics["error_m"]
    assert np.isnan(kept.metrics["undefined"])


def test_equal_content_is_one_episode(store):
    first = store.commit(synthetic_draft(1), synthetic_truth(synthetic_draft(1)))
    before = store.path(first).stat().st_mtime_ns
    assert store.commit(synthetic_draft(1), synthetic_truth(synthetic_draft(1))) == first
    assert store.path(first).stat().st_mtime_ns == before
    assert store.ids() == (first,)


def test_software_versions_are_kept_but_are_no_part_of_the_id(store):
    draft = synthetic_draft(1)
    other = replace(draft, software={"recap": "9"})
    assert header_of(draft).id == header_of(other).id
    assert store.load(store.commit(other)).software == {"recap": "9"}


@pytest.mark.parametrize(
    "change",
    [
        {"task": "other"},
        {"robot": "other"},
        {"rate_hz": 20.0},
        {"start_seed": 99},
        {"start_seed": None},
        {"renderer": None},
        {"action": np.zeros((12, 14), np.float32)},
    ],
)
def test_every_fact_is_part_of_the_id(change):
    assert header_of(replace(synthetic_draft(1), **change)).id != header_of(synthetic_draft(1)).id


def test_the_id_is_the_same_in_another_process():
    code = (
        "from data.episode_file import header_of; from tests.support.synthetic import synthetic_draft\n"
        "print(header_of(synthetic_draft(7)).id)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == header_of(synthetic_draft(7)).id


def test_the_id_is_pinned():
    # Content that hashed to this once must hash to it for ever: ids are in every label, set and policy card.
    draft = replace(
        synthetic_draft(0),
        state=np.arange(6, dtype=np.float32).reshape(3, 2),
        action=np.ones((3, 1), np.float32),
        intervened=np.ones(3, bool),
        frames={"cam": np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)},
    )
    assert header_of(draft).id == "b52417a8985150cec5c14cfe04283da38c4f04f2b99dccac44a71a2b7a1f4f23"


def test_file_bytes_are_repeatable(tmp_path):
    a, b = EpisodeStore(tmp_path / "a"), EpisodeStore(tmp_path / "b")
    digests = {hashlib.sha256(s.path(s.commit(synthetic_draft(2))).read_bytes()).hexdigest() for s in (a, b)}
    assert len(digests) == 1


def _with(draft, array, step, value):
    changed = getattr(draft, array).copy()
    changed[step, 0] = value
    return replace(draft, **{array: changed})


DRAFT = synthetic_draft(0)
BROKEN = {
    "state": [
        _with(DRAFT, "state", 3, np.nan),
        replace(DRAFT, state=DRAFT.state.astype(np.float64)),
        replace(DRAFT, state=DRAFT.state[:, 0]),
        replace(DRAFT, state=DRAFT.state[:0]),
    ],
    "action": [
        _with(DRAFT, "action", 3, np.inf),
        replace(DRAFT, action=DRAFT.action[:-1]),
        replace(DRAFT, action=DRAFT.action[:, :0]),
    ],
    "intervened": [
        replace(DRAFT, intervened=DRAFT.intervened.astype(np.uint8)),
        replace(DRAFT, intervened=DRAFT.intervened[:-1]),
        replace(DRAFT, intervened=~DRAFT.intervened),
        replace(DRAFT, source=Source.ROLLOUT, policy_id="p"),
        replace(DRAFT, source=Source.CORRECTION, policy_id="p", intervened=~DRAFT.intervened),
    ],
    "policy_id": [
        replace(DRAFT, policy_id="p"),
        replace(DRAFT, source=Source.ROLLOUT, intervened=~DRAFT.intervened),
        replace(DRAFT, source=Source.CORRECTION, policy_id=""),
    ],
    "frames/cam_high": [
        replace(DRAFT, frames={"cam_high": DRAFT.frames["cam_high"][:-1]}),
        replace(DRAFT, frames={"cam_high": DRAFT.frames["cam_high"].astype(np.float32)}),
        replace(DRAFT, frames={"cam_high": DRAFT.frames["cam_high"][..., :1]}),
    ],
    "frames": [replace(DRAFT, frames={})],
    "frames/../x": [replace(DRAFT, frames={"../x": DRAFT.frames["cam_high"]})],
    "task": [replace(DRAFT, task="../up"), replace(DRAFT, task="truth"), replace(DRAFT, task="")],
    "rate_hz": [replace(DRAFT, rate_hz=0.0), replace(DRAFT, rate_hz=float("nan"))],
    "robot": [replace(DRAFT, robot="")],
}


@pytest.mark.parametrize(("field", "draft"), [(f, d) for f, drafts in BROKEN.items() for d in drafts])
def test_a_broken_contract_is_refused_by_field_and_leaves_nothing(store, field, draft):
    with pytest.raises(ConfigError, match=rf"(: |; ){field}: "):
        store.commit(draft, synthetic_truth(DRAFT))
    assert not store.root.exists()


def test_a_truth_of_another_length_is_refused(store):
    with pytest.raises(ConfigError, match="progress"):
        store.commit(DRAFT, synthetic_truth(synthetic_draft(0, length=5)))
    assert store.ids() == ()


def test_two_verdicts_on_one_recording_are_refused(store):
    episode_id = store.commit(DRAFT, synthetic_truth(DRAFT))
    with pytest.raises(ConfigError, match="another truth"):
        store.commit(DRAFT, synthetic_truth(DRAFT, Outcome.FAILURE))
    assert store.truth(episode_id).outcome is Outcome.SUCCESS


def test_a_neutral_event_that_was_not_noted_before_is_no_other_verdict(store):
    before = synthetic_truth(DRAFT)
    episode_id = store.commit(DRAFT, before)
    more = replace(before, events=(Event(t=0, name="flaw:biased", kind=0), *before.events))
    assert store.commit(DRAFT, more) == episode_id
    assert store.truth(episode_id).events == more.events
    with pytest.raises(ConfigError, match="another truth"):
        store.commit(DRAFT, replace(more, events=(Event(t=0, name="object_lost", kind=-1), *before.events)))


def test_unknown_ids_answer_with_the_nearest(store):
    episode_id = store.commit(DRAFT)
    with pytest.raises(UnknownName, match=f"did you mean '{episode_id}'"):
        store.load(episode_id[:-1] + "x")
    with pytest.raises(UnknownName, match="no privileged truth"):
        store.truth(episode_id)
    assert store.resolve(episode_id[:6]) == episode_id
    other = store.commit(synthetic_draft(1))
    with pytest.raises(ConfigError, match="ambiguous"):
        store.resolve("")
    assert store.ids() == tuple(sorted((episode_id, other)))


def test_ids_by_task(store):
    a, b = store.commit(DRAFT), store.commit(synthetic_draft(0, task="box_assembly"))
    assert (store.ids(task="shirt_folding"), store.ids(task="box_assembly")) == ((a,), (b,))


def test_store_and_episode_survive_pickling(store):
    episode_id = store.commit(DRAFT)
    again = pickle.loads(pickle.dumps(store))
    episode = pickle.loads(pickle.dumps(again.load(episode_id)))
    np.testing.assert_array_equal(episode.frames["cam_high"], DRAFT.frames["cam_high"])


def test_reading_numbers_decodes_no_image(store, monkeypatch):
    episode_id = store.commit(DRAFT)
    asked = []
    monkeypatch.setattr("data.episode_file._naming", _spy(asked))
    state, _, _ = store.numbers(episode_id)
    store.load(episode_id)
    store.rows()
    np.testing.assert_array_equal(state, DRAFT.state)
    assert {"state", "action", "intervened"} <= set(asked)
    assert not [name for name in asked if name.startswith("frames")]


def _spy(asked):
    from contextlib import nullcontext

    def naming(path, field):
        asked.append(field)
        return nullcontext()

    return naming


def test_header_facts_without_decoding(store):
    header = read_header(store.path(store.commit(DRAFT)))
    assert (header.length, header.cameras, header.facts["start_seed"]) == (12, CAMERAS, 0)


def test_episode_set_checks_its_hash():
    ids = [hashlib.sha256(bytes([i])).hexdigest() for i in range(4)]
    episodes = EpisodeSet.of([*ids, ids[0]])
    assert (len(episodes), list(episodes)) == (4, sorted(ids))
    value = episodes.to_json()
    assert EpisodeSet.from_json(value) == episodes
    assert EpisodeSet.of(ids[:2]) | EpisodeSet.of(ids[1:]) == episodes
    with pytest.raises(ConfigError, match="hash"):
        EpisodeSet.from_json({**value, "ids": value["ids"][:-1]})
    with pytest.raises(ConfigError, match="sorted"):
        EpisodeSet.from_json({**value, "ids": value["ids"][::-1]})
    with pytest.raises(ConfigError, match="expected ids and root"):
        EpisodeSet.from_json({"ids": []})
    with pytest.raises(ConfigError, match="no episode id"):
        EpisodeSet.of(["x"])
