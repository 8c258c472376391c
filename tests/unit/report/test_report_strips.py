"""Geometry of curves, bands and histograms, on the page and as pictures."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from made_up_loop import THRESHOLD, advantage, strips

from pipelines.report.charts import histogram_chart, histogram_picture, histogram_top
from pipelines.report.drawing import LEFT, LINES, RIGHT
from pipelines.report.pictures import Mark, ValueStrip
from pipelines.report.strip_chart import (
    common_range,
    label_kinds,
    shared_ends,
    stretches,
    strip_chart,
    strip_figure,
    value_picture,
)
from recap.errors import ConfigError


def test_strip_refuses_arrays_of_another_length() -> None:
    good = strips()[0]
    with pytest.raises(ConfigError, match="value of shape \\(5,\\), expected \\(133,\\)"):
        dataclasses.replace(good, value=np.zeros(5, np.float32))


def drawn(strip: ValueStrip) -> Any:
    return strip_figure(strip, shared_ends([strip]), 1000, LEFT, RIGHT)


def test_frame_stands_above_its_moment() -> None:
    failure = strips()[1]
    low, high = drawn(failure).axes[0].get_xlim()
    shown = failure.film.steps
    places = (np.asarray(shown) - low) / (high - low)
    np.testing.assert_allclose(places, (np.arange(12) + 0.5) / 12, atol=0.5 / failure.film.length)


def test_curve_is_the_values_and_stops_at_a_hole() -> None:
    whole = strips()[0]
    values = whole.value.copy()
    values[[10, 12]] = np.nan
    axes = drawn(dataclasses.replace(whole, value=values)).axes[0]
    curves = [line.get_xydata() for line in axes.lines if line.get_color() == LINES[0]]
    np.testing.assert_allclose(curves[0], np.stack([np.arange(10), values[:10]], 1))
    assert curves[1][:, 0].tolist() == [10.6, 11.4], "a lone point is a dash"
    np.testing.assert_allclose(curves[2], np.stack([np.arange(13, 133), values[13:]], 1))


def test_marks_that_are_close_get_rows_of_their_own_and_stay_inside() -> None:
    marks = (
        Mark(t=130, name="missed_grasp_left", kind=-1),
        Mark(t=132, name="regrasp", kind=0),
        Mark(t=239, name="a long name of an event", kind=1),
    )
    failure = strips()[1]
    texts = drawn(dataclasses.replace(failure, film=dataclasses.replace(failure.film, marks=marks))).axes[0].texts
    assert [text.get_text() for text in texts] == [
        "missed grasp left @130",
        "regrasp @132",
        "a long name of an event @239",
    ]
    first, second, last = (text.get_position() for text in texts)
    assert first[1] > second[1]
    assert [text.get_ha() for text in texts] == ["left", "left", "right"]
    assert last[0] < 239


def test_hostile_mark_is_drawn_as_text() -> None:
    failure = strips()[1]
    marks = (Mark(t=3, name="$\\frac{<b>\n\x00\ud83d \u6298", kind=-1),)
    named = dataclasses.replace(failure, film=dataclasses.replace(failure.film, marks=marks))
    markup = str(strip_chart(named, shared_ends([named])))
    assert "<b>" not in markup
    assert "$\\frac{&lt;b&gt;" in markup
    assert value_picture(named).ndim == 3


def test_band_covers_every_step_once() -> None:
    correction = strips()[2]
    kinds = label_kinds(correction)
    assert kinds is not None
    band = drawn(correction).axes[-1]
    spans = sorted((p.get_xy()[:, 0].min(), p.get_xy()[:, 0].max()) for p in band.patches)
    assert spans[0][0] == -0.5
    assert spans[-1][1] == 170.5
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert set(kinds) == {0, 1, 2}
    assert len({p.get_xy()[:, 1].max() for p in band.patches}) == 3, "height tells them apart"
    assert stretches([]) == []


def test_range_ignores_what_is_not_a_number() -> None:
    low, high = common_range([np.array([-0.5, np.nan, np.inf]), [-0.25]])
    assert low < -0.5 < -0.25 < high < 0
    assert common_range([]) == (-1.0, 0.0)


def test_histogram_is_told_and_marked_at_the_threshold() -> None:
    facts = advantage(1)
    markup = str(histogram_chart(facts.histograms[2], facts))
    assert f">threshold {THRESHOLD}</text>" in markup
    assert all(f"fill: var(--{name})" in markup for name in ("neg", "pos", "forced"))
    assert f"{facts.histograms[2].frames:,} correction frames" in markup
    assert 0 < histogram_top(facts.histograms) < 0.2


def test_value_picture_is_marked_where_the_error_is() -> None:
    _, failure, correction = strips()
    picture = value_picture(failure)
    assert picture.dtype == np.uint8
    red = (np.abs(picture.astype(int) - (182, 58, 32)) < 60).all(-1)
    column = int(red.sum(0).argmax())
    place = (0.5 + 11 * 96 / 239) / 12
    assert column == pytest.approx(62 + place * (picture.shape[1] - 68), abs=3)
    assert red[:, column].sum() > 180
    assert (value_picture(correction) == (251, 238, 203)).all(-1).any()
    assert not (picture == (251, 238, 203)).all(-1).any()


def test_histogram_picture_has_all_three_labels_or_is_none() -> None:
    facts = advantage(1)
    picture = histogram_picture(facts)
    assert picture is not None
    for colour in ((217, 119, 95), (28, 154, 112), (63, 111, 216)):
        assert (picture == colour).all(-1).any()
    assert histogram_picture(dataclasses.replace(facts, histograms=())) is None
