from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.report.charts import _thin, line_chart
from pipelines.report.filmstrip import evenly_spaced, film_strip, nearest, save_png, stack_cameras
from pipelines.report.formats import duration, figure, flatten, nice_end, percent, share, size
from pipelines.report.pictures import Mark, merge_sides
from recap.errors import ConfigError
from recap.types import FrameArray

draw = partial(line_chart, x_label="step", y_label="loss")


def ramp(count: int, side: int = 32) -> FrameArray:
    """Frame t is uniformly grey t."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 3)).copy()


def test_strip_shows_evenly_spaced_frames_from_first_to_last() -> None:
    strip = film_strip(ramp(101), count=5, scale=2)
    assert strip.dtype == np.uint8
    centres = [8 + position * (64 + 4) + 32 for position in range(5)]
    assert [int(strip[8 + 32, x, 0]) for x in centres] == [0, 25, 50, 75, 100]
    assert strip.shape[1] == 2 * 8 + 5 * 64 + 4 * 4


def test_short_film_shows_each_frame_once() -> None:
    assert evenly_spaced(3, 10) == [0, 1, 2]
    assert evenly_spaced(0, 10) == []
    assert evenly_spaced(50, 1) == [0]
    assert film_strip(ramp(3), count=10, scale=1).shape[1] == 2 * 8 + 3 * 32 + 2 * 4


def test_mark_is_drawn_at_the_closest_frame_and_needs_room() -> None:
    frames = ramp(101)
    plain = film_strip(frames, count=5, scale=2)
    marked = film_strip(frames, count=5, scale=2, marks=[(70, "missed_grasp", -1)])
    assert marked.shape[0] > plain.shape[0]
    edges = [marked[8, 8 + position * 68 + 20].tolist() for position in range(5)]
    assert [position for position, edge in enumerate(edges) if edge == [194, 69, 45]] == [3]
    assert nearest(70, [0, 25, 50, 75, 100]) == 3


def test_error_outranks_milestone_on_one_frame() -> None:
    strip = film_strip(ramp(2), count=2, scale=2, marks=[(0, "folded", 1), (0, "dropped", -1)])
    assert strip[8, 20].tolist() == [194, 69, 45]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: film_strip(ramp(0)), "expected uint8"),
        (lambda: film_strip(ramp(4).astype(np.float32)), "expected uint8"),
        (lambda: film_strip(ramp(4), count=4, captions=["a"]), "1 captions for 4"),
        (lambda: film_strip(ramp(4), marks=[(4, "late", 0)]), "frames 0..3"),
        (lambda: film_strip(ramp(4), scale=0), "scale 0"),
        (lambda: evenly_spaced(4, 0), "count 0"),
    ],
)
def test_strip_refuses_by_name(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        call()  # type: ignore[operator]


def test_long_caption_never_leaves_its_frame() -> None:
    frames = np.full((2, 32, 32, 3), 255, np.uint8)
    strip = film_strip(frames, count=2, scale=2, captions=["W" * 200, ""])
    ink = np.flatnonzero((strip < 200).any(axis=(0, 2)))
    assert ink.size
    assert ink.max() < 8 + 64 + 4


def test_stacked_cameras_take_the_width_of_the_first() -> None:
    stacked = stack_cameras([ramp(3, 32), ramp(3, 64)])
    assert stacked.shape == (3, 32 + 1 + 32, 32, 3)
    assert stacked[2, 40, 5].tolist() == [2, 2, 2]


def test_png_round_trip_leaves_no_part_file(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    path = save_png(image, tmp_path / "film.png")
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), image)
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.png"]


def test_chart_is_the_same_every_time_and_leaves_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    first = draw({"a": ((0, 1.0), (1, 0.1))}, log_y=True)
    monkeypatch.setitem(mpl.rcParams, "font.size", 40)
    assert draw({"a": ((0, 1.0), (1, 0.1))}, log_y=True) == first
    monkeypatch.undo()
    assert dict(mpl.rcParams) == before


def test_chart_has_text_and_the_colours_of_the_page_and_nothing_of_its_own() -> None:
    markup = str(draw({"a": ((0, 1.0), (100, 2.0)), "b": ((0, 1.5), (100, 1.0))}))
    assert {">step</text>", ">loss</text>", ">a</text>", ">b</text>", ">100</text>"} <= set(
        re.findall(r">[^<>]*</text>", markup)
    )
    assert "stroke: var(--l0)" in markup
    assert "stroke: var(--l1)" in markup
    assert not re.findall(r"#[0-9a-f]{6}| id=|url\(|http|<style|<metadata|<!--", markup)
    assert "loss over step. a: 1 at 0, 2 at 100; b: 1.5 at 0, 1 at 100" in markup


def test_long_curve_is_thinned_and_keeps_its_spread() -> None:
    rng = np.random.default_rng(1)
    points = [(float(s), float(np.exp(rng.normal()))) for s in range(5000)]
    x, middle, lower, upper = _thin(points)
    assert len(x) == 120
    assert (x[0], x[-1]) == (0, 4999)
    assert (lower < middle).all()
    assert (middle < upper).all()
    short = _thin(points[:240])
    np.testing.assert_array_equal(short[1], [y for _, y in points[:240]])


def test_chart_of_one_or_equal_points_can_be_drawn() -> None:
    assert "url(" not in draw({"a": ((5, 0.3),)}, log_y=True)
    draw({"a": ((5, 0.0), (6, 0.0))})


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_chart_refuses_points_it_cannot_place(bad: float) -> None:
    with pytest.raises(ConfigError, match="cannot be drawn"):
        draw({"a": ((0, 1.0), (1, bad))}, log_y=True)


def test_chart_labels_are_escaped() -> None:
    markup = str(
        line_chart({'<b>" $x$': ((0, 1.0), (1, 2.0)), "b": ((0, 1.0), (1, 3.0))}, x_label="<x>", y_label="<y>")
    )
    assert "<b>" not in markup
    assert "<x>" not in markup
    assert '&lt;b&gt;" $x$</text>' in markup


def test_the_report_loads_matplotlib_only_to_draw() -> None:
    code = "import sys, pipelines.report.overview; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_round_ends() -> None:
    assert [nice_end(v) for v in (0, 1, 131, 990)] == [1, 1, 150, 1000]


def test_events_of_both_hands_are_written_once() -> None:
    marks = [
        Mark(t=5, name="grasped_left", kind=0),
        Mark(t=5, name="grasped_right", kind=0),
        Mark(t=9, name="sleeve_right_folded", kind=1),
        Mark(t=10, name="sleeve_left_folded", kind=1),
        Mark(t=12, name="leftover", kind=-1),
    ]
    names = ["grasped_both", "sleeve_right_folded", "sleeve_left_folded", "leftover"]
    assert [mark.name for mark in merge_sides(marks)] == names


def test_numbers_as_text() -> None:
    assert percent(0.625, 1) == "62.5\u00a0%"
    assert percent(None) == "n/a"
    assert share(2 / 3) == "66.7\u00a0%"
    assert [figure(v) for v in (0, 131.4, 0.012345, 99999, 1e-7, 5)] == [
        "0",
        "131",
        "0.0123",
        "99,999",
        "1.00e-07",
        "5",
    ]
    assert figure(float("nan")) == "nan"
    assert [duration(s).replace("\u00a0", " ") for s in (0.04, 59.9, 59.97, 3599, 7260)] == [
        "0.0 s",
        "59.9 s",
        "1.0 min",
        "1 h 0 min",
        "2 h 1 min",
    ]
    assert size(912_400_000) == "912.4\u00a0MB"
    assert dict(flatten({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": {}})) == {
        "a.b": "1",
        "a.c": "1, 2",
        "d": "none",
        "e": "none",
    }
