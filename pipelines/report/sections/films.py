"""Film strips of attempts: what success and failure look like, with the simulator's events under the frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.filmstrip import nearest
from pipelines.report.formats import figure, words
from pipelines.report.frames import data_uri
from pipelines.report.model import ReportData
from pipelines.report.pictures import Film, merge_sides
from pipelines.report.section import Section

_TEMPLATE = """
{% for film in films %}
<figure class="film" id="film-{{ film.slug }}">
<figcaption><b>{{ film.title }}</b> {{ m.outcome(film.outcome) }}
<span class="sub">{{ film.length }} steps, {{ film.seconds }} s
{%- if film.seed is not none %}, start seed {{ film.seed }}{% endif %}{% if film.note %}, {{ film.note }}{% endif %},
 episode <code>{{ film.episode_id[:12] }}</code></span></figcaption>
<ol class="frames">
{% for cell in film.cells %}
<li{% if cell.edge %} class="{{ cell.edge }}"{% endif %}>
{% for image in cell.images %}<img src="{{ image.uri }}" alt="{{ image.camera }} at step {{ cell.step }}"
 width="{{ image.width }}" height="{{ image.height }}">{% endfor %}
<span class="at"><b>{{ cell.step }}</b> <i>{{ cell.second }} s</i></span>
{% for mark in cell.marks %}<span class="mark {{ mark.tone }}">{{ mark.text }}<i> @{{ mark.t }}</i></span>{% endfor %}
</li>{% endfor %}
</ol></figure>
{% else %}<p class="sub">No attempt with pictures has been recorded yet.</p>
{% endfor %}
{% if films %}<p class="note">Number under a frame: control step, and seconds of robot time. Rows:
{{ cameras | join(", ") }}. <span class="mark bad">Errors</span> and <span class="mark good">milestones</span> are the
simulator's own record (step after the @), shown under the closest frame; no model reads them.</p>{% endif %}
"""

_TONES = {1: "good", -1: "bad", 0: "plain"}


def _tone(kind: int) -> str:
    return _TONES[(kind > 0) - (kind < 0)]


def _cells(film: Film) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = []
    for position, step in enumerate(film.steps):
        images = [
            {
                "camera": row.camera,
                "width": row.frames.shape[2],
                "height": row.frames.shape[1],
                "uri": data_uri(row.frames[position]),
            }
            for row in film.rows
        ]
        marks = [
            {"text": words(mark.name), "t": mark.t, "tone": _tone(mark.kind), "kind": mark.kind}
            for mark in merge_sides(film.marks)
            if nearest(mark.t, film.steps) == position
        ]
        tones = {mark["tone"] for mark in marks}
        edge = next((tone for tone in ("bad", "good") if tone in tones), "")
        second = figure(step / film.rate_hz, 2 if step / film.rate_hz < 10 else 3)
        cells.append({"step": step, "second": second, "images": images, "marks": marks, "edge": edge})
    return cells


def _context(data: ReportData) -> Mapping[str, Any]:
    return {
        "cameras": list(dict.fromkeys(row.camera for film in data.films for row in film.rows)),
        "films": [
            {
                "slug": film.slug,
                "title": film.title,
                "outcome": film.outcome.value,
                "length": film.length,
                "seconds": figure(film.length / film.rate_hz),
                "seed": film.start_seed,
                "note": film.note,
                "episode_id": film.episode_id,
                "cells": _cells(film),
            }
            for film in data.films
        ],
    }


SECTION = Section(id="films", order=30, title="What it looks like", template=_TEMPLATE, context=_context)
