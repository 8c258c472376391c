"""What the value model saw in attempts: its curve under the film, the marked errors, and the labels made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.report.filmstrip import nearest
from pipelines.report.formats import figure, words
from pipelines.report.frames import data_uri
from pipelines.report.model import ReportData
from pipelines.report.pictures import ValueStrip, merge_sides
from pipelines.report.prints import shared_ends
from pipelines.report.section import Section
from pipelines.report.strip_chart import Sign, TimeAxis, common_range, label_band, label_kinds, strip_panel

_MOST_PIXELS = 128

_TEMPLATE = """
{% for s in strips %}
<figure class="strip" id="value-{{ s.slug }}">
<figcaption><b>{{ s.title }}</b> {{ m.outcome(s.outcome) }}
<span class="sub">{{ s.length }} steps, {{ s.seconds }} s
{%- if s.seed is not none %}, start seed {{ s.seed }}{% endif %}, value from {{ s.first }} to {{ s.last }},
 episode <code>{{ s.episode_id[:12] }}</code></span></figcaption>
<div class="scroll"><div class="sheet">
<div class="row" style="grid-template-columns:repeat({{ s.cells | length }},1fr)">
{% for c in s.cells %}<div class="cell{{ " " ~ c.edge if c.edge }}"><img src="{{ c.uri }}"
 alt="{{ s.camera }} at step {{ c.step }}" width="{{ c.width }}" height="{{ c.height }}">
<span class="at"><b>{{ c.step }}</b> <i>{{ c.second }} s</i></span></div>{% endfor %}
</div>
{{ s.value }}
{% if s.advantage %}{{ s.advantage }}{% endif %}
{% if s.band %}{{ s.band }}{% endif %}
</div></div>
{% if s.privileged %}<p class="note">No label of this episode marks a key frame: the lines are the simulator's own
record, which no model reads.</p>{% endif %}
</figure>
{% endfor %}
<p class="note"><b>Value</b>: expected return in [-1, 0], higher is better, by a model that was
{{ "not trained" if held_out else "trained" }} on the episode; the band is one standard deviation of its noise draws.
All curves share one scale, and a frame stands above the moment it shows (step, seconds). Lines:
<span class="mark bad">errors</span> and <span class="mark good">milestones</span> as labelled (step after the @).
{%- if human %} Shaded <span class="swatch shade"></span>: a person acts.{% endif %}
{%- if banded %} <b>Advantage</b>: gain over the next {{ lookahead or "N" }} steps against what was expected; the dashed
line is the threshold. Band: <span class="swatch positive"></span> positive, <span class="swatch negative"></span>
negative
{%- if forced %}, <span class="swatch forced"></span> positive because a person acted{% endif %}.{% endif %}</p>
"""

_TONES = {1: "good", -1: "bad", 0: "plain"}


def signs_of(strip: ValueStrip) -> list[Sign]:
    """The key frames of a strip as marks of its chart."""
    return [
        Sign(t=mark.t, text=words(mark.name), tone=_TONES[(mark.kind > 0) - (mark.kind < 0)])
        for mark in merge_sides(strip.film.marks)
    ]


def _cells(strip: ValueStrip, signs: list[Sign]) -> list[dict[str, Any]]:
    film, cells = strip.film, []
    for position, step in enumerate(film.steps):
        frame = film.rows[0].frames[position]
        tones = {sign.tone for sign in signs if nearest(sign.t, film.steps) == position}
        cells.append(
            {
                "step": step,
                "second": figure(step / film.rate_hz, 2 if step / film.rate_hz < 10 else 3),
                "uri": data_uri(frame, max_side=_MOST_PIXELS),
                "height": frame.shape[0],
                "width": frame.shape[1],
                "edge": next((tone for tone in ("bad", "good") if tone in tones), ""),
            }
        )
    return cells


def _shown(strip: ValueStrip, ends: tuple[float, float], advantage_ends: tuple[float, float]) -> dict[str, Any]:
    film = strip.film
    axis = TimeAxis(length=film.length, frames=len(film.steps))
    signs = signs_of(strip)
    kinds = label_kinds(strip)
    return {
        "slug": film.slug,
        "title": film.title,
        "outcome": film.outcome.value,
        "length": film.length,
        "seconds": figure(film.length / film.rate_hz),
        "seed": film.start_seed,
        "first": figure(float(strip.value[0]), 2),
        "last": figure(float(strip.value[-1]), 2),
        "episode_id": film.episode_id,
        "camera": film.rows[0].camera,
        "cells": _cells(strip, signs),
        "privileged": strip.privileged_marks,
        "value": strip_panel(
            axis,
            strip.value,
            ends=ends,
            label=f"value (models of iteration {strip.iteration})",
            spread=strip.spread,
            shaded=strip.intervened if strip.source != "demo" else (),
            signs=signs,
        ),
        "advantage": None
        if strip.advantage is None
        else strip_panel(
            axis,
            strip.advantage,
            ends=advantage_ends,
            label="advantage",
            reference=strip.threshold,
            shaded=strip.intervened if strip.source != "demo" else (),
            signs=[Sign(t=sign.t, text="", tone=sign.tone) for sign in signs],
            slim=True,
        ),
        "band": None if kinds is None else label_band(axis, kinds),
    }


def _context(data: ReportData) -> Mapping[str, Any] | str | None:
    strips = [strip for strip in data.strips if strip.film.rows and strip.film.steps]
    if not strips:
        return (
            "No value model has been trained yet, or no attempt with its values can be shown."
            if (data.plans("value_label"))
            else None
        )
    ends = shared_ends(strips)
    advantage_ends = common_range(
        [s.advantage for s in strips if s.advantage is not None], *(s.threshold for s in strips)
    )
    lookaheads = [i.advantage.lookahead for i in data.iterations if i.advantage is not None]
    return {
        "strips": [_shown(strip, ends, advantage_ends) for strip in strips],
        "human": any(bool(np.any(s.intervened)) for s in strips if s.source != "demo"),
        "banded": any(s.advantage is not None for s in strips),
        "forced": any(s.forced is not None and bool(np.any(s.forced)) for s in strips),
        "lookahead": lookaheads[-1] if lookaheads else None,
        "held_out": all(s.held_out for s in strips),
    }


SECTION = Section(id="values", order=26, title="Values along attempts", template=_TEMPLATE, context=_context)
