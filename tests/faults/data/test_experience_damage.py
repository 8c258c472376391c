"""Stored bytes change, vanish or were wrong from the start: named, set aside, and nothing else is touched."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.describe import show, stats
from data.episode_file import encode, header_of
from data.episodes import EpisodeStore
from data.verify import Kind, repair, verify
from recap.errors import EpisodeCorrupt, UnknownName
from recap.types import Outcome, Source


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore(tmp_path / "episodes")
    for seed in range(4):
        draft = synthetic_draft(seed)
        store.commit(draft, synthetic_truth(draft))
    return store


def _content(store, episode_id):
    return {
        "file": store.path(episode_id).read_bytes(),
        "mtime": store.path(episode_id).stat().st_mtime_ns,
        "truth": store.truth_path(episode_id).read_bytes(),
    }


def _repair_one(store, victim, kind, field):
    """Repairs a store in which only `victim` is bad; checks the finding, the quarantine and all others."""
    others = {i: _content(store, i) for i in store.ids() if i != victim}
    findings = list(verify(store))
    assert [(f.kind, f.episode, f.field) for f in findings] == [(kind, victim, field)]
    done = repair(store)
    assert [d.finding for d in done] == findings
    assert list(verify(store)) == []
    assert {i: _content(store, i) for i in others} == others
    return done[0]


def _assert_set_aside(store, victim, done, field):
    assert victim in done.lost
    assert victim not in store.ids()
    assert (store.quarantine / f"{victim}.zip").is_file()
    assert (store.quarantine / f"{victim}.json").is_file()
    reason = json.loads((store.quarantine / f"{victim}.zip.reason.json").read_text())
    assert (reason["episode"], reason["field"]) == (victim, field)
    with pytest.raises(UnknownName):
        store.load(victim)
    assert victim not in [row.id for row in store.rows()]


def _inside(content, member):
    """A byte within the payload of `member`; within the attributes for the header."""
    return content.index(b'"recap"') if member == "zarr.json" else content.index(member.encode()) + len(member) + 40


@pytest.mark.parametrize(
    ("field", "member"),
    [
        ("state", "state/c/0/0"),
        ("action", "action/c/0/0"),
        ("frames/cam_left_wrist", "frames/cam_left_wrist/c/1/0/0/0"),
        ("header", "zarr.json"),
    ],
)
def test_a_flipped_bit_is_named_by_field_and_quarantined(store, field, member):
    victim = store.ids()[1]
    content = bytearray(store.path(victim).read_bytes())
    content[_inside(content, member)] ^= 4
    store.path(victim).write_bytes(content)
    done = _repair_one(store, victim, Kind.CORRUPT, field)
    _assert_set_aside(store, victim, done, field)
    assert "12 steps" in done.lost


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -30])
def test_a_truncated_file_is_quarantined(store, keep):
    victim = store.ids()[2]
    path = store.path(victim)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EpisodeCorrupt, match=victim):
        store.load(victim)
    assert [f.episode for f in verify(store, full=False)] == [victim]
    _assert_set_aside(store, victim, _repair_one(store, victim, Kind.CORRUPT, "header"), "header")


def test_another_episode_under_this_name_is_quarantined(store):
    victim, other = store.ids()[:2]
    shutil.copyfile(store.path(other), store.path(victim))
    _assert_set_aside(store, victim, _repair_one(store, victim, Kind.CORRUPT, "header"), "header")


def test_an_altered_array_with_right_checksums_of_its_own_is_quarantined(store):
    """Somebody rewrites an array properly, zip and zarr intact: the digest in the header still tells."""
    victim = store.ids()[0]
    episode = store.load(victim)
    action = episode.action.copy()
    action[3, 2] += 1
    store.path(victim).write_bytes(encode(replace(episode, action=action), header_of(episode)))
    with pytest.raises(EpisodeCorrupt, match="action is not what was committed"):
        store.load(victim)
    _assert_set_aside(store, victim, _repair_one(store, victim, Kind.CORRUPT, "action"), "action")


def test_altered_facts_are_quarantined(store):
    victim = store.ids()[0]
    episode = store.load(victim)
    header = header_of(replace(episode, start_seed=12345))
    store.path(victim).write_bytes(encode(episode, header))
    _assert_set_aside(store, victim, _repair_one(store, victim, Kind.CORRUPT, "header"), "header")


def test_a_lost_chunk_is_not_read_as_black(store):
    import io
    import zipfile

    victim = store.ids()[0]
    path = store.path(victim)
    smaller = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(smaller, "w") as new:
        for item in old.infolist():
            if item.filename != "frames/cam_high/c/1/0/0/0":
                new.writestr(item, old.read(item))
    path.write_bytes(smaller.getvalue())
    with pytest.raises(EpisodeCorrupt, match="frames/cam_high lacks"):
        store.load(victim)
    _assert_set_aside(store, victim, _repair_one(store, victim, Kind.CORRUPT, "header"), "header")


def _plant(store, draft):
    """Puts a file there that no commit would have let through: whole, with the right id."""
    header = header_of(draft)
    path = store.root / "shirt_folding" / f"{header.id}.zip"
    path.write_bytes(encode(draft, header))
    return header.id


BASE = synthetic_draft(9)
NAN_STATE = BASE.state.copy()
NAN_STATE[4, 1] = np.nan


@pytest.mark.parametrize(
    ("field", "draft"),
    [
        ("state", replace(BASE, state=NAN_STATE)),
        ("action", replace(BASE, action=BASE.action[:-1])),
        ("action", replace(BASE, action=BASE.action.astype(np.float64))),
        ("intervened", replace(BASE, intervened=~BASE.intervened)),
        ("policy_id", replace(BASE, policy_id="p")),
        ("frames/cam_high", replace(BASE, frames={**BASE.frames, "cam_high": BASE.frames["cam_high"][:5]})),
        ("frames/cam_high", replace(BASE, frames={**BASE.frames, "cam_high": BASE.frames["cam_high"][..., :2]})),
        ("rate_hz", replace(BASE, rate_hz=-1.0)),
    ],
)
def test_a_whole_file_that_breaks_the_contract_is_quarantined(store, field, draft):
    before = store.ids()
    victim = _plant(store, draft)
    done = _repair_one(store, victim, Kind.CONTRACT, field)
    assert victim in done.lost
    assert store.ids() == before
    assert (store.quarantine / f"{victim}.zip").is_file()


def test_a_changed_byte_outside_the_content_costs_nothing(store):
    victim = store.ids()[0]
    path = store.path(victim)
    good = path.read_bytes()
    altered = bytearray(good)
    altered[10] ^= 1  # the time of day of a member
    path.write_bytes(altered)
    done = _repair_one(store, victim, Kind.FRAMING, "file")
    assert done.lost == ""
    assert path.read_bytes() == good


def test_a_damaged_truth_is_quarantined_and_its_episode_stays(store):
    victim = store.ids()[0]
    truth = store.truth_path(victim)
    truth.write_text(truth.read_text().replace('"success"', '"failure"'))
    with pytest.raises(EpisodeCorrupt, match="truth"):
        store.truth(victim)
    findings = list(verify(store))
    assert [(f.kind, f.episode, f.field) for f in findings] == [(Kind.TRUTH, victim, "truth")]
    (done,) = repair(store)
    assert "truth" in done.lost
    assert victim in store.ids()
    assert not store.has_truth(victim)
    # Recording the attempt again brings the verdict back.
    draft = synthetic_draft(store.load(victim).start_seed)
    store.commit(draft, synthetic_truth(draft))
    assert store.truth(victim).outcome is Outcome.SUCCESS


def test_a_bad_file_is_replaced_when_the_same_attempt_is_committed_again(store):
    victim = store.ids()[0]
    path = store.path(victim)
    good = path.read_bytes()
    draft = synthetic_draft(store.load(victim).start_seed)
    path.write_bytes(good[:-7])
    store.truth_path(victim).write_text("{")
    assert store.commit(draft, synthetic_truth(draft)) == victim
    assert path.read_bytes() == good
    assert list(verify(store)) == []


def test_a_leftover_of_a_stopped_process_is_quarantined(store):
    leftover = store.root / "shirt_folding" / f".tmp-{'a' * 64}.zip.123.00000000"
    leftover.write_bytes(b"half an episode")
    (finding,) = verify(store)
    assert (finding.kind, finding.episode) == (Kind.ORPHAN_TMP, "a" * 64)
    (done,) = repair(store)
    assert "a" * 64 in done.lost
    assert not leftover.exists()
    assert list(verify(store)) == []


def test_a_truth_without_an_episode_is_quarantined(store):
    victim = store.ids()[0]
    store.path(victim).unlink()
    (finding,) = verify(store)
    assert (finding.kind, finding.episode) == (Kind.ORPHAN_TRUTH, victim)
    repair(store)
    assert list(verify(store)) == []
    assert (store.quarantine / f"{victim}.json").is_file()


def test_a_file_in_the_wrong_folder_goes_home(store):
    victim = store.ids()[0]
    home = store.path(victim)
    wrong = store.root / "box_assembly" / home.name
    wrong.parent.mkdir()
    home.rename(wrong)
    (finding,) = verify(store)
    assert (finding.kind, finding.field) == (Kind.MISPLACED, "task")
    repair(store)
    assert home.is_file()
    assert list(verify(store)) == []
    shutil.copyfile(home, wrong)
    repair(store)
    assert not wrong.exists()
    assert home.is_file()
    assert list(verify(store)) == []


def test_half_a_copy_elsewhere_takes_nothing_from_the_good_one(store):
    victim = store.ids()[0]
    home = store.path(victim)
    wrong = store.root / "box_assembly" / home.name
    wrong.parent.mkdir()
    wrong.write_bytes(home.read_bytes()[: home.stat().st_size // 2])
    assert [done.lost for done in repair(store)] == [""]
    assert not wrong.exists()
    assert store.truth(victim) is not None
    assert list(verify(store)) == []


def test_the_same_recording_under_another_seed_is_reported_and_kept(store):
    draft = replace(synthetic_draft(0), start_seed=77)
    twin = store.commit(draft)
    (finding,) = verify(store)
    assert finding.kind is Kind.DUPLICATE
    assert {finding.episode} | {i for i in store.ids() if i in finding.problem} == {
        twin,
        header_of(synthetic_draft(0)).id,
    }
    before = store.ids()
    assert [done.action for done in repair(store)] == ["left in place"]
    assert store.ids() == before


def test_a_second_quarantine_of_one_id_keeps_both(store):
    victim = store.ids()[0]
    draft = synthetic_draft(store.load(victim).start_seed)
    for cut in (5, 6):
        path = store.path(victim)
        path.write_bytes(path.read_bytes()[:-cut])
        repair(store)
        store.commit(draft, synthetic_truth(draft))
    kept = sorted(p.name for p in store.quarantine.glob(f"{victim}.zip*") if not p.name.endswith("reason.json"))
    assert kept == [f"{victim}.zip", f"{victim}.zip.1"]
    assert stats(store).quarantined == 4  # two files and the truth of each


def test_chosen_episodes_only(store):
    a, b = store.ids()[:2]
    for victim in (a, b):
        path = store.path(victim)
        path.write_bytes(path.read_bytes()[:-1])
    seen = []
    assert [f.episode for f in verify(store, [a], progress=lambda *p: seen.append(p))] == [a]
    assert seen == [(1, 1)]
    with pytest.raises(UnknownName):
        list(verify(store, ["nothing"]))


def test_a_machine_in_trouble_is_not_a_corrupt_episode(store, monkeypatch):
    def too_many(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("data.episode_file.zipfile.ZipFile", too_many)
    with pytest.raises(OSError, match="Too many") as caught:
        repair(store)
    assert not isinstance(caught.value, EpisodeCorrupt)
    assert len(store.ids()) == 4


def test_show_and_stats(store):
    rollout = synthetic_draft(20, length=30, source=Source.CORRECTION)
    episode_id = store.commit(rollout, synthetic_truth(rollout, Outcome.FAILURE))
    store.commit(synthetic_draft(21, source=Source.ROLLOUT))
    report = show(store, episode_id[:10])
    assert (report.row.id, report.outcome, report.human_steps) == (episode_id, Outcome.FAILURE, 15)
    assert (report.duration_s, report.final_progress) == (3.0, 1.0)
    assert report.software == {"recap": "synthetic"}
    totals = stats(store)
    assert (totals.episodes, totals.frames, totals.quarantined) == (6, 4 * 12 + 30 + 12, 0)
    assert totals.bytes == sum(path.stat().st_size for path in store.files().values())
    assert [(g.source, g.outcome, g.episodes, g.lengths) for g in totals.groups] == [
        (Source.CORRECTION, Outcome.FAILURE, 1, (30,) * 5),
        (Source.DEMO, Outcome.SUCCESS, 4, (12,) * 5),
        (Source.ROLLOUT, None, 1, (12,) * 5),
    ]
