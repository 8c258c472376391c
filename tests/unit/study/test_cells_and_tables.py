"""A study: frozen once, its cells of one kind, its tables from the cells alone, its claims no more than they say."""

from __future__ import annotations

import json
import random
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.study_cells import made_cell, made_cells, made_study

from pipelines.graph import build_graph
from pipelines.study.arms import arm_nodes, run_settings, runs_of
from pipelines.study.cells import Cell, cells_of, read_cell, read_cells
from pipelines.study.claims import claims
from pipelines.study.config import STANDARD, STUDIES, StudyConfig, Variant
from pipelines.study.figures import Figures
from pipelines.study.frozen import Study
from pipelines.study.outcome import CellRun
from pipelines.study.plan import plan_of
from pipelines.study.predictors import correlations
from pipelines.study.run import Asked, again_of
from pipelines.study.tables import tables_of
from pipelines.study.write import write_tables
from recap.errors import ConfigError, UnknownName

TASKS = ("shirt_folding", "box_assembly")
CONFIG = StudyConfig(
    tasks=TASKS,
    arms=("imitation", "viva", "random", "all"),
    seeds=4,
    fewer={"all": 2},
    starts=40,
    preset="micro",
    variants={
        "bare": Variant(arms=("viva", "random"), settings=("rollouts.corrections=0",)),
        "second": Variant(arms=("viva", "random"), iterations=2),
    },
)
RATES = {"imitation": 0.4, "viva": 0.8, "random": 0.4, "all": 0.5}


def _rate(cell: Cell) -> float:
    return RATES[cell.arm]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return made_study(CONFIG, tmp_path)


def test_the_cells_of_a_study_are_counted_once_each(study: Study) -> None:
    cells = list(cells_of(study))
    assert len(cells) == len(set(cells)) == 2 * (4 + 4 + 4 + 2) + 2 * (4 + 4) * 2
    assert [cell for cell in cells if cell.arm == "imitation" and cell.variant != STANDARD] == []
    assert {cell.seed for cell in cells if cell.arm == "all"} == {0, 1}
    assert str(cells[0]) == "shirt_folding/imitation/seed-0"
    assert Cell(task="t", arm="viva", variant="bare", seed=3).label == "viva@bare"


@pytest.mark.parametrize("name", STUDIES.names())
def test_every_named_study_is_of_arms_and_tasks_that_there_are(name: str) -> None:
    from data.tasks import TASKS as REGISTERED
    from value_model.arms import ARMS
    from value_model.models import VALUE_MODELS

    config = STUDIES.get(name)
    assert set(config.tasks) <= set(REGISTERED.names())
    assert set(config.arms) <= {"imitation", *VALUE_MODELS.names(), *ARMS.names()}


def test_a_study_may_name_its_policy_family() -> None:
    asked = {"variant": STANDARD, "everyone": ("imitation", "viva")}
    run = run_settings(replace(CONFIG, policy="gigabrain0"), TASKS[0], **asked).config()  # type: ignore[arg-type]
    assert type(run.policy.model).__name__ == "GigaBrain0Config"
    usual = run_settings(CONFIG, TASKS[0], **asked).config()  # type: ignore[arg-type]
    assert type(usual.policy.model).__name__ == "Pi05Config"


def test_every_arm_and_variant_has_its_nodes_in_the_graph_of_its_run() -> None:
    from pipelines.graph import build_graph

    for variant in (STANDARD, *CONFIG.variants):
        for everyone in runs_of(CONFIG, variant, CONFIG.arms_of(variant, 0)):
            config = run_settings(CONFIG, TASKS[0], variant, everyone=everyone).config()
            nodes = {node.name for node in build_graph(config).order()}
            for arm in everyone:
                named = arm_nodes(arm, TASKS[0], config)
                wanted = (named.evaluate, named.selection, named.policy, named.advantage, named.judge)
                assert {name for name in wanted if name is not None} <= nodes
                assert (named.judge is not None) == (arm == "viva")
            assert len({arm_nodes(arm, TASKS[0], config).evaluate for arm in everyone}) == len(everyone)
    assert runs_of(CONFIG, "second", ("viva", "random")) == [("viva",), ("random",)]


def test_settings_of_the_judge_are_left_out_where_no_value_model_is_judged() -> None:
    config = replace(CONFIG, settings=("judge.bounds.enforce=false",))
    for everyone in runs_of(config, "second", ("viva", "random")):
        made = run_settings(config, TASKS[0], "second", everyone=everyone).config()
        assert bool(made.values) == (everyone == ("viva",))
        assert made.judge.bounds.enforce != bool(made.values)


def test_a_cell_needs_its_own_arm_alone_and_counts_what_others_share_apart() -> None:
    everyone = CONFIG.arms_of(STANDARD, 0)
    whole = run_settings(CONFIG, TASKS[0], STANDARD, everyone=everyone).config()
    runs = {
        arm: CellRun.of(Cell(task=TASKS[0], arm=arm, variant=STANDARD, seed=0), whole, whole, everyone)
        for arm in everyone
    }
    assert not [name for name in runs["imitation"].needs if name.startswith("1/")]
    assert not [name for name in runs["all"].needs if "viva" in name or "random" in name]
    assert "1/viva/value_train" in runs["viva"].own
    assert {arm: str(run.experience) for arm, run in runs.items()} == {
        "imitation": f"0/{TASKS[0]}/record:episodes",
        **dict.fromkeys(("viva", "random", "all"), "1/experience:episodes"),
    }
    assert "1/viva/value_train" in runs["random"].needs - runs["random"].own, "random permutes viva's labels"
    assert runs["all"].own == {
        "1/all/advantage",
        "1/all/policy",
        "1/all/checkpoint_selection",
        f"1/all/{TASKS[0]}/evaluate",
    }
    some = run_settings(CONFIG, TASKS[0], STANDARD, everyone=everyone, asked=["all"]).config()
    asked = CellRun.of(Cell(task=TASKS[0], arm="all", variant=STANDARD, seed=0), some, whole, everyone)
    assert (asked.needs, asked.own) == (runs["all"].needs, runs["all"].own), "whatever else was asked for"


def test_a_study_is_frozen_once_and_settings_that_differ_are_named(tmp_path: Path) -> None:
    name = "micro"
    frozen = Study.current(name, tmp_path).freeze()
    assert Study.current(name, tmp_path).freeze() == frozen == Study.frozen(name, tmp_path)
    file = tmp_path / name / "study.json"
    content = json.loads(file.read_text())
    run = content["shirt_folding standard imitation,all,viva"]
    del run["cross_fit"]
    file.write_text(json.dumps(content))
    again = Study.current(name, tmp_path).freeze()
    assert again.runs != frozen.runs, "a setting that came since is at its default"
    run["demos"]["episodes"] = 4
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"other settings .*: shirt_folding standard .*viva.demos.episodes\n"):
        Study.current(name, tmp_path).freeze()


def test_another_definition_of_a_task_is_another_study(tmp_path: Path) -> None:
    frozen = Study.current("micro", tmp_path).freeze()
    assert {"max_steps", "revision", "flawed_share"} <= frozen.runs["shirt_folding"].keys()
    harder = replace(frozen, runs={**frozen.runs, "shirt_folding": {**frozen.runs["shirt_folding"], "revision": 99}})
    assert harder.digest_of("shirt_folding", STANDARD) != frozen.digest_of("shirt_folding", STANDARD)
    with pytest.raises(ConfigError, match=r"other settings .*: shirt_folding\.revision"):
        harder.freeze()


def test_a_task_joins_a_frozen_study_and_leaves_its_cells_alone(tmp_path: Path) -> None:
    first = Study.current("micro", tmp_path).freeze()
    joined = replace(
        first,
        config=replace(first.config, tasks=(*first.config.tasks, "another")),
        runs={**first.runs, "another standard": {"cross_fit": 2}},
        written=None,
    )
    assert joined.freeze() == Study.frozen("micro", tmp_path)
    assert joined.digest_of("shirt_folding", STANDARD) == first.digest_of("shirt_folding", STANDARD)
    assert joined.digest_of("another", STANDARD) != first.digest_of("shirt_folding", STANDARD)
    with pytest.raises(ConfigError, match="other settings"):
        first.freeze()


def test_a_cell_comes_back_as_it_was_written(study: Study) -> None:
    written = made_cells(study, _rate)
    assert read_cells(study) == written
    file = written[0].cell.file(study)
    assert file.relative_to(study.folder) == Path("shirt_folding/imitation/seed-0.json")
    assert len(file.read_bytes()) < 4000


def test_cells_that_are_not_of_the_study_are_refused_by_name(study: Study) -> None:
    cell = next(cells_of(study))
    assert read_cell(study, cell) is None
    made = made_cell(study, cell, 0.5)
    replace(made, digest="0" * 64).write(study)
    with pytest.raises(ConfigError, match=r"shirt_folding/imitation/seed-0.json is a cell of other settings"):
        read_cells(study)
    made.write(study)
    assert read_cell(study, cell) == made
    other = replace(cell, seed=1)
    other.file(study).write_bytes(cell.file(study).read_bytes())
    with pytest.raises(ConfigError, match=r"holds cell shirt_folding/imitation/seed-0, expected .*seed-1"):
        read_cells(study)
    other.file(study).rename(study.folder / "shirt_folding" / "imitation" / "seed-9.json")
    with pytest.raises(ConfigError, match=r"seed-9.json is no cell of study 'made'"):
        read_cells(study)
    with pytest.raises(ConfigError, match="one outcome, step count and time for each start"):
        replace(made, steps=made.steps[1:])


GOLDEN = """\
| success | shirt_folding | box_assembly | pooled |
|---|---|---|---|
| imitation | 37.5 % [29.4, 45.6] (4) | 41.9 % [32.5, 51.9] (4) | 39.7 % [33.4, 45.9] (4) |
"""
GOLDEN_DIFFERENCE = """\
| viva - random | +30.0 [+15.0, +44.4] (4) | +35.0 [+20.0, +50.0] (4) | +32.5 [+21.9, +42.8] (4) |
"""


def test_tables_say_the_same_whatever_order_cells_are_read_in(study: Study) -> None:
    results = made_cells(study, _rate)
    text = tables_of(study, results)
    shuffled = list(results)
    random.Random(0).shuffle(shuffled)
    assert tables_of(study, shuffled) == text
    assert GOLDEN in text
    assert GOLDEN_DIFFERENCE in text
    assert "44 of 60 cells" not in text
    assert "60 of 60 cells" in text
    assert "Few seeds" in text
    for variant in (STANDARD, "bare", "second"):
        assert f"## Variant {variant}\n" in text


def test_a_difference_is_paired_over_the_seeds_that_both_have(study: Study) -> None:
    results = made_cells(study, _rate)
    figures = Figures(CONFIG, results, STANDARD)
    found = figures.success_difference("all", "imitation")
    assert found is not None
    assert found.seeds == {"shirt_folding": 2, "box_assembly": 2}
    assert found.missing == 0
    rates = {one.cell: sum(o == "success" for o in one.outcomes) / 40 for one in results}
    expected = [
        rates[Cell(task=task, arm="all", variant=STANDARD, seed=seed)]
        - rates[Cell(task=task, arm="imitation", variant=STANDARD, seed=seed)]
        for task in TASKS
        for seed in (0, 1)
    ]
    assert found.estimate.value == pytest.approx(sum(expected) / 4)
    own = [one for one in results if one.arm != "random"]
    same = Figures(CONFIG, [*own, *(replace(one, arm="random") for one in own if one.arm == "viva")], STANDARD)
    nothing = same.success_difference("viva", "random")
    assert nothing is not None
    assert (nothing.estimate.low, nothing.estimate.high) == (0.0, 0.0)


def test_arms_tried_on_other_starts_are_not_compared(study: Study) -> None:
    results = made_cells(study, _rate)
    moved = replace(results[-1], start_seeds=tuple(one + 1 for one in results[-1].start_seeds))
    with pytest.raises(ConfigError, match="other starts"):
        Figures(CONFIG, [*results[:-1], moved], moved.variant)


def test_arms_that_saw_pictures_of_other_renderers_are_not_compared(study: Study) -> None:
    first, *rest = made_cells(study, _rate)
    known = replace(first, renderer="egl")
    others = [replace(one, renderer="osmesa") if one.seed != first.seed else one for one in rest]
    Figures(CONFIG, [known, *others], STANDARD)
    moved = [replace(one, renderer="osmesa") if one.cell.label == "viva" else one for one in rest]
    with pytest.raises(ConfigError, match=r"cell shirt_folding/viva/seed-0 was tried with renderer 'osmesa', .*'egl'"):
        Figures(CONFIG, [known, *moved], STANDARD)


def test_arms_that_learned_from_other_episodes_are_named(study: Study) -> None:
    results = [replace(one, experience=f"e{one.iteration}") for one in made_cells(study, _rate)]
    assert "learned from different episodes" not in tables_of(study, results)
    moved = [
        replace(one, experience="other") if one.arm == "viva" and (one.seed == 1 or one.variant == "second") else one
        for one in results
    ]
    told = [line for line in tables_of(study, moved).splitlines() if "learned from different episodes" in line]
    assert [line.split(". ")[0].partition("variant ")[2] for line in told] == [
        f"{variant}: box_assembly seed 1, shirt_folding seed 1" for variant in (STANDARD, "bare")
    ]


def test_cells_of_before_are_read_as_they_are(study: Study) -> None:
    made = made_cell(study, next(cells_of(study)), 0.5)
    made.write(study)
    file = made.cell.file(study)
    content = json.loads(file.read_text())
    del content["renderer"], content["experience"]
    file.write_text(json.dumps(content))
    assert read_cell(study, made.cell) == made


def test_throughput_is_that_of_the_evaluation(study: Study) -> None:
    from pipelines.steps.evaluate.summary import throughput_summary
    from recap.specs import TaskSpec

    one = made_cells(study, _rate)[0]
    spec = TaskSpec(
        id="t",
        prompt="p",
        robot="r",
        max_steps=one.max_steps,
        rate_hz=one.rate_hz,
        lookahead_s=1.0,
        positive_fraction=0.4,
        reset_s=one.reset_s,
        success="s",
    )
    found = Figures(replace(CONFIG, tasks=TASKS[:1]), [one], STANDARD).throughput("imitation", TASKS[0])
    assert found is not None
    assert found.estimate.value == pytest.approx(throughput_summary(one.attempts, spec).throughput_per_hour)


def _said(study: Study, rates: dict[str, float], *, drop: int = 0) -> dict[str, str]:
    results = [made_cell(study, cell, rates[cell.arm]) for cell in cells_of(study) if cell.variant == STANDARD]
    kept = results[: len(results) - drop]
    return dict(line.split(": ", 1) for line in claims(Figures(study.config, kept, STANDARD)))


VIVA_RANDOM = "viva above random, lower end above 0, pooled"
GAIN = "viva gains at least 20 points on imitation, pooled"


def test_claims_hold_fail_or_stay_open(study: Study) -> None:
    holds = _said(study, RATES)
    assert holds[VIVA_RANDOM].startswith("HOLDS, +")
    assert holds[GAIN].startswith("HOLDS, +")
    nothing = _said(study, {**RATES, "viva": 0.42})
    assert nothing[GAIN].startswith("DOES NOT HOLD, ")
    assert "other way round" not in nothing[VIVA_RANDOM]
    assert _said(study, {**RATES, "viva": 0.1})[VIVA_RANDOM].endswith("; it is the other way round")
    some = _said(study, RATES, drop=5)
    assert some[VIVA_RANDOM].startswith("OPEN, ")
    assert "training seeds are missing; so far +" in some[VIVA_RANDOM]
    assert not [line for line in holds if "vlm" in line or "flaw" in line], "only of arms that the study has"


def test_where_imitation_is_high_throughput_may_count_instead(study: Study) -> None:
    said = _said(study, {**RATES, "imitation": 0.7, "viva": 0.72})[GAIN]
    assert said.startswith("DOES NOT HOLD, ")
    assert "throughput may reach +30 % instead: DOES NOT HOLD" in said
    assert "throughput" not in _said(study, RATES)[GAIN]


def test_the_figure_that_predicts_the_gain_comes_first(study: Study) -> None:
    results = []
    for cell in cells_of(study):
        if cell.variant == STANDARD and cell.arm in ("imitation", "viva"):
            rate = 0.2 if cell.arm == "imitation" else 0.3 + 0.15 * cell.seed
            figures = {"flaw_auc": 0.5 + 0.1 * cell.seed, "noise": float(cell.seed == 1), "same": 1.0}
            results.append(made_cell(study, cell, rate, figures=figures if cell.arm == "viva" else None))
    found = correlations(results)
    assert [name for name, _, _ in found] == ["flaw_auc", "noise"], "a figure that never differs predicts nothing"
    assert found[0][1].low > 0
    assert found[0][2] == 8
    assert correlations(results[:4]) == []


def test_what_is_missing_is_expected_to_take_as_long_as_what_is_there(study: Study) -> None:
    results = made_cells(study, _rate)
    kept = [one for one in results if one.seed < 1 or one.arm == "random"]
    plans = {(plan.variant, plan.task, plan.arm): plan for plan in plan_of(study, kept)}
    viva = plans[STANDARD, "shirt_folding", "viva"]
    assert (viva.done, viva.missing, viva.minutes) == ((0,), (1, 2, 3), 6.0)
    assert plans["bare", "shirt_folding", "random"].missing == ()
    assert {plan.minutes for plan in plan_of(study, [])} == {None}


def test_tables_go_between_the_marks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_tables(page, "made", "one\n")
    write_tables(page, "made", "two\n")
    assert page.read_text() == "# Study made\n\n<!-- study made -->\ntwo\n<!-- end of study made -->\n"
    page.write_text(f"before\n{page.read_text()}after\n")
    write_tables(page, "made", "three\n")
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    with pytest.raises(ConfigError, match=r"expected the lines '<!-- study other -->'"):
        write_tables(page, "other", "x\n")


def test_the_command_that_goes_on_asks_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from cli import options
    from cli.main import app

    asked = Asked(
        tasks=("shirt_folding",), seeds=(0, 2), arms=("viva",), variants=("bare",), max_minutes=90, executor="ray"
    )
    words = shlex.split(again_of(Path("a b"), "made", Path("r"), asked))
    monkeypatch.setattr(options, "_chosen", [options.DEFAULT_WORKSPACE])
    assert words[:3] == ["recap", "study", "run"]
    command: Any = typer.main.get_command(app)
    given = command.commands["study"].commands["run"].make_context("run", words[3:]).params
    assert (given["task"], given["seed"], given["arm"], given["variant"]) == (
        ["shirt_folding"],
        [0, 2],
        ["viva"],
        ["bare"],
    )
    assert (given["workspace"], given["results"]) == (Path("a b"), Path("r"))
    assert (given["executor"], given["max_minutes"]) == ("ray", 90)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"arms": ("imitation",)}, "expected some of both"),
        ({"fewer": {"vlm": 1}}, "vlm has 1 of 4 seeds"),
        ({"fewer": {"all": 4}}, "all has 4 of 4 seeds"),
        ({"fewer": {"viva": 2}}, "viva is the run's own arm"),
        ({"variants": {"bare": Variant(arms=("all", "random"))}}, "all is the run's own arm"),
        ({"variants": {"bare": Variant(arms=("vlm",))}}, "variant 'bare' of arm 'vlm'"),
        ({"variants": {"bare": Variant(arms=("imitation",))}}, "variant 'bare' of arm 'imitation'"),
    ],
)
def test_a_study_that_cannot_be_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownName):
        CONFIG.arms_of("bar", 0)


def test_every_run_of_a_named_study_is_one_that_recap_would_run(tmp_path: Path) -> None:
    for name in STUDIES.names():
        planned = Study.current(name, tmp_path)
        for variant in (STANDARD, *planned.config.variants):
            for everyone in runs_of(planned.config, variant, planned.config.arms_of(variant, 0)):
                build_graph(run_settings(planned.config, planned.config.tasks[0], variant, everyone=everyone).config())
