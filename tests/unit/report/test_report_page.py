from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_parser import Page
from PIL import Image

from pipelines.report import ReportData, write_report
from pipelines.report.model import Command, Iteration, NodeState, Provenance
from pipelines.report.pictures import Film, FilmRow
from pipelines.report.sections import SECTIONS
from pipelines.report.write import render
from recap.errors import ConfigError
from recap.graph import NodeName
from recap.types import FrameArray, Outcome

MakeRun = Callable[..., ReportData]
_FETCHING = ("src", "href", "srcset", "action", "poster", "data", "formaction", "background", "xlink:href")


def pixels(png: bytes) -> FrameArray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def embedded(source: str | None) -> FrameArray:
    return pixels(base64.b64decode((source or "").partition(",")[2]))


def test_headline_numbers_are_those_of_the_data(make_run: MakeRun) -> None:
    data = make_run()
    page = Page(render(data))
    for iteration in data.iterations:
        evaluation = iteration.evaluation
        assert evaluation is not None
        for value in (evaluation.success.value, evaluation.throughput.value, evaluation.mean_steps):
            assert value in page.values
    assert "28 of 40 attempts" in page.text
    assert "95 % interval 55 % to 82 % (Wilson)" in page.text
    assert "22.5 %" in page.text
    assert "simulated" in page.text


def test_interval_bar_stands_where_the_numbers_say(make_run: MakeRun) -> None:
    data = make_run()
    evaluation = data.evaluated[-1].evaluation
    assert evaluation is not None
    success = evaluation.success
    spans = re.findall(r'<i class="span" style="left:([\d.]+)%;width:([\d.]+)%">', render(data))
    assert float(spans[0][0]) == pytest.approx(100 * success.low, abs=0.01)
    assert float(spans[0][1]) == pytest.approx(100 * (success.high - success.low), abs=0.01)


def test_page_fetches_nothing_and_runs_nothing(make_run: MakeRun) -> None:
    html = render(make_run())
    page = Page(html)
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            if name in _FETCHING:
                assert (value or "").startswith(("data:image/png;base64,", "#")), (tag, name, value)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "url(" not in html
    policy = next(m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_hostile_names_stay_text_everywhere(make_run: MakeRun) -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
    run = make_run()
    film = dataclasses.replace(
        run.films[1],
        title=evil,
        note=evil,
        episode_id=evil,
        rows=tuple(dataclasses.replace(row, camera=evil) for row in run.films[1].rows),
        marks=tuple(dataclasses.replace(mark, name=evil) for mark in run.films[1].marks),
    )
    evaluation, recordings = run.iterations[0].evaluation, run.iterations[0].recordings
    assert evaluation is not None
    assert recordings is not None
    assert run.data is not None
    iteration = dataclasses.replace(
        run.iterations[0],
        evaluation=dataclasses.replace(evaluation, policy_id=evil, split=evil),
        recordings=(dataclasses.replace(recordings[0], flaw=evil, episode_id=evil),),
    )
    html = render(
        make_run(
            run_name=evil,
            task=evil,
            prompt=evil,
            success_definition=evil,
            films=(film,),
            iterations=(iteration,),
            nodes=(
                dataclasses.replace(
                    run.nodes[0], name=NodeName(0, evil), step=evil, progress=evil, error=evil, key=evil
                ),
            ),
            data=dataclasses.replace(run.data, cameras=(evil,), renderers=(evil,), software={evil: evil}),
            settings={evil: {evil: evil}},
            provenance=Provenance(facts=((evil, evil),), versions={evil: evil}),
            commands=(Command(purpose=evil, line=evil),),
            missing=(evil,),
        )
    )
    page = Page(html)
    assert not page.named("script")
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs]
    assert all((attrs.get("src") or "").startswith("data:") for attrs in page.named("img"))
    assert page.text.count("<script>alert(1)</script>") >= 15
    assert "{{ 7*7 }}" in page.text


def test_partial_run_says_what_is_missing_and_shows_the_rest(make_partial_run: MakeRun) -> None:
    page = Page(render(make_partial_run()))
    assert "This run is not complete." in page.text
    assert "0/policy (policy): killed (300 of 1200 steps)" in page.text
    assert "No policy has been evaluated in this run yet" in page.text
    assert "No policy has been trained yet." in page.text
    assert len(page.named("img")) == 24
    assert "partial run" in page.text
    assert "complete run" not in page.text


def test_run_that_has_produced_nothing_has_a_page(make_run: MakeRun) -> None:
    empty = make_run(
        task="",
        prompt="",
        success_definition="",
        simulated=None,
        iterations=(),
        nodes=(),
        films=(),
        data=None,
        settings={},
        provenance=Provenance(facts=(), versions={}),
        commands=(),
        missing=("0/collect: not begun",),
    )
    page = Page(render(empty))
    assert "0/collect: not begun" in page.text
    assert "No attempt with pictures has been recorded yet." in page.text
    assert "simulated" not in page.text
    assert page.values == []


def test_recording_without_attempts(make_run: MakeRun) -> None:
    html = render(make_run(iterations=(Iteration(index=0, recordings=()),), nodes=()))
    assert "Nothing has been attempted yet." in Page(html).text
    assert not {"nan", "None", "inf"} & set(re.findall(r"\w+", Page(html).text))


def test_summary_that_contradicts_its_attempts_is_refused(make_run: MakeRun) -> None:
    evaluation = make_run().iterations[0].evaluation
    assert evaluation is not None
    with pytest.raises(ConfigError, match="says 10 successes, its list of attempts holds 9"):
        dataclasses.replace(evaluation, successes=10)
    helped = tuple(dataclasses.replace(trial, human_steps=1) for trial in evaluation.trials)
    with pytest.raises(ConfigError, match="holds 0"):
        dataclasses.replace(evaluation, trials=helped)


def test_outcome_table_counts_every_attempt_once(make_run: MakeRun) -> None:
    data = make_run(iterations=make_run().iterations[:1])
    recordings = data.iterations[0].recordings
    assert recordings is not None
    section = next(s for s in SECTIONS if s.id == "outcomes")
    context = section.context(data)
    assert isinstance(context, dict)
    rows = [row for row in context["rows"] if row.source == "demo"]
    assert sum(len(row.attempts) for row in rows if not row.total) == len(recordings)
    total = next(row for row in rows if row.total)
    assert total.of("success") == sum(r.outcome is Outcome.SUCCESS for r in recordings)
    assert all(len(row.attempts) == sum(map(row.of, Outcome)) for row in rows)
    assert rows[0].flaw == "clean"


def test_losses_that_a_log_axis_cannot_hold_are_counted_aloud(make_run: MakeRun) -> None:
    training = make_run().iterations[0].training
    assert training is not None
    losses = ((1, 1.0), (2, float("nan")), (3, 0.0), (4, 0.5))
    data = make_run(iterations=(Iteration(index=0, training=dataclasses.replace(training, loss=losses)),))
    assert "2 loss values are not positive and finite" in Page(render(data)).text
    all_bad = dataclasses.replace(training, loss=((1, float("inf")),))
    page = Page(render(make_run(iterations=(Iteration(index=0, training=all_bad),))))
    assert "1 loss values are not positive" in page.text


def test_step_without_time_is_a_dash_not_a_zero(make_partial_run: MakeRun) -> None:
    data = make_partial_run()
    assert [node.seconds for node in data.nodes] == [64.0, None, None]
    page = Page(render(data))
    assert page.values.count(64.0) == 2  # the step and the sum
    assert "300 of 1200 steps" in page.text


def test_written_files(make_run: MakeRun, tmp_path: Path) -> None:
    data = make_run()
    path = write_report(data, tmp_path / "new" / "report")
    assert path == tmp_path / "new" / "report" / "report.html"
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted(
        ["report.html", *(f"film-{film.slug}.png" for film in data.films)]
    )
    assert pixels((path.parent / "film-demo-failure.png").read_bytes()).shape[1] > 12 * 128
    write_report(make_run(run_name="second"), path.parent)
    assert "second" in path.read_text()


def test_embedded_frames_are_the_data(make_run: MakeRun) -> None:
    data = make_run()
    sources = [attrs["src"] for attrs in Page(render(data)).named("img")]
    np.testing.assert_array_equal(embedded(sources[0]), data.films[0].rows[0].frames[0])
    assert len(sources) == sum(len(film.steps) * len(film.rows) for film in data.films)


def test_large_frames_are_shrunk_in_the_page_only(make_run: MakeRun, tmp_path: Path) -> None:
    film = Film(
        slug="big",
        title="big",
        episode_id="ab",
        start_seed=None,
        outcome=Outcome.ABORTED,
        length=1,
        rate_hz=10.0,
        steps=(0,),
        rows=(FilmRow(camera="cam", frames=np.full((1, 480, 640, 3), 90, np.uint8)),),
    )
    path = write_report(make_run(films=(film,)), tmp_path)
    assert embedded(Page(path.read_text()).named("img")[0]["src"]).shape == (144, 192, 3)
    assert pixels((tmp_path / "film-big.png").read_bytes()).shape[1] > 640


def test_film_refuses_what_it_cannot_be(make_run: MakeRun) -> None:
    film = make_run().films[0]
    with pytest.raises(ConfigError, match="cannot name a file"):
        dataclasses.replace(film, slug="../evil")
    with pytest.raises(ConfigError, match="expected \\[11, h, w, 3\\]"):
        dataclasses.replace(film, steps=film.steps[:-1])


def test_every_section_is_on_the_page_once_and_in_the_navigation(make_run: MakeRun) -> None:
    page = Page(render(make_run()))
    anchors = [attrs["id"] for attrs in page.named("section")]
    shown = [section.id for section in SECTIONS if section.context(make_run()) is not None]
    assert anchors == shown
    assert len(set(anchors)) == len(anchors) == 10
    assert [attrs["href"] for attrs in page.named("a")] == [f"#{anchor}" for anchor in anchors]


def test_failed_step_shows_its_error(make_partial_run: MakeRun) -> None:
    nodes = make_partial_run().nodes
    failed = dataclasses.replace(nodes[1], state=NodeState.FAILED, error="ConfigError: loss is <nan>")
    assert "ConfigError: loss is <nan>" in Page(render(make_partial_run(nodes=(nodes[0], failed, nodes[2])))).text
