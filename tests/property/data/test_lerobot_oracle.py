"""What an import stores is what LeRobot's own reader gives for the same folder, bit for bit, or is refused by name.

A failure names its seed. `PYTHONPATH=. .venv/bin/python tests/property/data/lerobot_compare.py SEED` shows it alone.
"""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from lerobot_compare import Oracle, check, simplest
from lerobot_folders import write_folder
from lerobot_plans import CODECS, DAMAGE, Plan, draw

QUICK, SHARD = 200, 100
NIGHTLY, NIGHTLY_SHARD = 2000, 200
SHARE = 0.7
"""Of the episodes that LeRobot reads: at least so many are taken."""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    with Oracle(tmp_path_factory.mktemp("oracle")) as oracle:
        yield oracle


def _agree(seeds, scratch, oracle):
    totals, wrong = Counter(), []
    for seed in seeds:
        verdict = check(draw(seed), scratch / "case", oracle)
        kind = verdict.plan.codec if verdict.plan.pictures == "video" else "pictures"
        totals.update({"read": verdict.read, "taken": verdict.taken, "expected": verdict.expected})
        totals.update({verdict.plan.version: verdict.taken, kind: verdict.taken})
        if verdict.wrong:
            wrong.append(verdict)
    if wrong:
        least = simplest(wrong[0], scratch / "case", oracle)
        pytest.fail("\n".join([f"{len(wrong)} of {len(seeds)}; the first made simple: {least}", *map(str, wrong)]))
    assert totals["taken"] >= SHARE * totals["read"], totals
    assert totals["taken"] >= totals["expected"] > 0
    # Nothing is vouched for that hardly occurs.
    assert min(totals[kind] for kind in (*CODECS, "pictures", "v2.0", "v2.1", "v3.0")) >= 5, totals


@pytest.mark.parametrize("first", [0, *(pytest.param(it, marks=pytest.mark.slow) for it in range(SHARD, QUICK, SHARD))])
def test_an_import_stores_what_lerobot_gives(tmp_path, oracle, first):
    _agree(range(first, first + SHARD), tmp_path, oracle)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(QUICK, QUICK + NIGHTLY, NIGHTLY_SHARD))
def test_an_import_stores_what_lerobot_gives_in_many_datasets(tmp_path, oracle, first):
    _agree(range(first, first + NIGHTLY_SHARD), tmp_path, oracle)


def test_the_plans_have_every_trouble():
    plans = [draw(seed) for seed in range(QUICK)]
    fields = {
        name: {getattr(plan, name) for plan in plans} for name in ("codec", "version", "pictures", "container", "share")
    }
    assert {name: len(values) for name, values in fields.items()} == {
        "codec": len(CODECS),
        "version": 3,
        "pictures": 4,
        "container": 7,
        "share": 3,
    }
    usual = Plan()
    seldom = {
        item.name: sum(getattr(plan, item.name) != getattr(usual, item.name) for plan in plans)
        for item in dataclasses.fields(Plan)
    }
    assert min(seldom.values()) >= 4, seldom
    assert {plan.damage for plan in (draw(seed) for seed in range(NIGHTLY))} == {"", *DAMAGE}


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_reader_that_is_one_picture_off_is_noticed(tmp_path, oracle, monkeypatch, version):
    from data.lerobot_io import reading

    read, plan = reading.read_frames, Plan(version=version, spare=(0, 1, 1), share="none")
    assert check(plan, tmp_path / "case", oracle).wrong == []

    def late(path, times, **rest):
        return read(path, [time + 1 / plan.fps for time in times], **rest)

    monkeypatch.setattr(reading, "read_frames", late)
    verdict = check(plan, tmp_path / "case", oracle)
    assert [line for line in verdict.wrong if "what is stored there is LeRobot's row [1, 2, 3, None]" in line], verdict


def test_a_reader_that_refuses_everything_is_noticed(tmp_path, oracle, monkeypatch):
    from data.lerobot_io import video

    monkeypatch.setattr(video, "TOLERANCE_S", 0.0)
    monkeypatch.setattr("data.lerobot_io.reading.TOLERANCE_S", 0.0)
    verdict = check(Plan(), tmp_path / "case", oracle)
    assert "episode 0 is read by LeRobot and was refused" in str(verdict)


def _same(one, other, plan):
    for place in range(len(plan.lengths)):
        given, again = one.of(place), other.of(place)
        assert bool(given.refused) == bool(again.refused), f"{plan}: {given.refused} or {again.refused}"
        assert given.columns.keys() == again.columns.keys()
        for name, values in given.columns.items():
            assert values.dtype == again.columns[name].dtype
            np.testing.assert_array_equal(values, again.columns[name], err_msg=f"{plan}: {name}")


@pytest.mark.parametrize("seeds", [range(6), pytest.param(range(6, 100), marks=pytest.mark.slow)], ids=["some", "many"])
def test_tables_loaded_directly_are_those_that_lerobot_loads(tmp_path, oracle, seeds):
    for seed in seeds:
        plan = dataclasses.replace(draw(seed), gaps=False)
        write_folder(tmp_path / f"{seed}", plan)
        answers = []
        for whole in (False, True):
            oracle.ask(tmp_path / f"{seed}", whole=whole)
            answers.append(oracle.answer())
        _same(*answers, plan)


@pytest.mark.slow
def test_version_2_is_read_as_lerobot_converts_it(tmp_path, oracle):
    # Its script moves films that begin late to their beginning, goes by the place of a task rather than its number, and
    # by durations, which fragments, hidden and lost pictures make wrong: those it would change.
    plain = {"late": 0, "cut": 0, "task_numbers": 0, "container": "plain", "gaps": False, "damage": "", "vfr": 0}
    compared = 0
    for seed in range(150):
        plan = dataclasses.replace(draw(seed), lost=False, **plain)
        if plan.version != "v2.1":
            continue
        folder = tmp_path / f"{seed}"
        write_folder(folder, plan)
        answers = []
        for convert in (False, True):
            oracle.ask(folder, convert=convert)
            answers.append(oracle.answer())
        _same(*answers, plan)
        compared += 1
    assert compared > 15
