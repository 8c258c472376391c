"""Geometry of curves, bands and histograms, on the page and as pictures."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from made_up_loop import THRESHOLD, advantage, strips

from pipelines.report.prints import histogram_picture, value_picture
from pipelines.report.strip_chart import Sign, TimeAxis, common_range, histogram_chart, label_band, runs, strip_panel
from recap.errors import ConfigError


def test_strip_refuses_arrays_of_another_length() -> None:
    good = strips()[0]
    with pytest.raises(ConfigError, match="value of shape \\(5,\\), expected \\(133,\\)"):
        dataclasses.replace(good, value=np.zeros(5, np.float32))


def test_frame_stands_above_its_moment() -> None:
    axis = TimeAxis(length=111, frames=12)
    np.testing.assert_allclose(axis.place([0, 10, 110]), [0.5 / 12, 1.5 / 12, 11.5 / 12])
    assert TimeAxis(length=1, frames=1).place(0) == 0.5


def test_curve_goes_where_the_values_say_and_stops_at_a_hole() -> None:
    values = np.array([-1.0, -0.5, np.nan, -0.5, 0.0])
    markup = str(strip_panel(TimeAxis(length=5, frames=5), values, ends=(-1.0, 0.0), label="value"))
    lines = re.findall(r'class="line l0" d="M([^"]+)"', markup)
    assert lines == ["100.0 1000.0L300.0 500.0", "700.0 500.0L900.0 0.0"]
    with pytest.raises(ConfigError, match="5 values for a strip of 6 steps"):
        strip_panel(TimeAxis(length=6, frames=5), values, ends=(-1.0, 0.0), label="value")


def test_marks_that_are_close_get_rows_of_their_own_and_stay_inside() -> None:
    signs = [Sign(t=50, text="missed grasp left", tone="bad"), Sign(t=52, text="regrasp", tone="plain")]
    signs.append(Sign(t=99, text="a long name of an event", tone="good"))
    markup = str(
        strip_panel(TimeAxis(length=100, frames=10), np.zeros(100), ends=(-1.0, 0.0), label="value", signs=signs)
    )
    tops = re.findall(r'<span class="[\w ]+" style="left:[\d.]+%;top:([\d.]+)em"', markup)
    assert tops == ["0.0", "1.4", "0.0"]
    assert 'class="good back"' in markup


def test_band_covers_every_step_once() -> None:
    kinds = [0, 0, 1, 1, 1, 2, 0]
    markup = str(label_band(TimeAxis(length=7, frames=7), kinds))
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%", markup)]
    assert sum(widths) == pytest.approx(100.0, abs=0.05)
    assert "3 negative, 3 positive, 1 forced" in markup
    assert runs(kinds) == [(0, 2, 0), (2, 5, 1), (5, 6, 2), (6, 7, 0)]
    assert runs([]) == []


def test_range_ignores_what_is_not_a_number() -> None:
    low, high = common_range([np.array([-0.5, np.nan, np.inf])], None, -0.25)
    assert low < -0.5 < -0.25 < high < 0
    assert common_range([]) == (-1.0, 0.0)


def test_histogram_bars_are_the_shares_of_frames() -> None:
    facts = advantage(1)
    (demo, *_) = facts.histograms
    markup = str(histogram_chart(demo, facts.edges, threshold=THRESHOLD, top=0.1))
    heights = [float(h) for h in re.findall(r"v-([\d.]+)h", markup)]
    assert sum(heights) == pytest.approx(1000 / 0.1, rel=1e-3)
    limit = 1000 * (THRESHOLD - facts.edges[0]) / (facts.edges[-1] - facts.edges[0])
    assert f"M{limit:.1f} 0V1000" in markup
    assert f"threshold {THRESHOLD}" in markup


def test_value_picture_is_marked_where_the_error_is() -> None:
    _, failure, correction = strips()
    picture = value_picture(failure)
    assert picture.dtype == np.uint8
    red = (picture == (182, 58, 32)).all(-1)
    column = int(red.sum(0).argmax())
    place = float(TimeAxis(length=240, frames=12).place(96))
    assert column == pytest.approx(6 + place * (picture.shape[1] - 12), abs=3)
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
