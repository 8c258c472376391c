"""Turns ReportData into one HTML file and the pictures beside it.

The page holds all it needs; its own content-security policy forbids scripts and every fetch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.report import formats
from pipelines.report.charts import histogram_picture
from pipelines.report.filmstrip import data_uri, film_picture, nearest, save_png
from pipelines.report.model import ReportData
from pipelines.report.pictures import Film, Mark, merge_sides
from pipelines.report.section import Section
from pipelines.report.sections import SECTIONS
from pipelines.report.strip_chart import shared_ends, value_picture
from recap.files import write_atomic
from recap.texts import escaped

FILE_NAME = "report.html"


def write_report(data: ReportData, out_dir: Path, sections: Sequence[Section] = SECTIONS) -> Path:
    """Writes `report.html` (by default of every section) and its main pictures into `out_dir`; returns the page's path.

    The pictures: `film-<slug>.png` per film, `value-<slug>.png` per value strip, `advantages-<iteration>.png`.

    The page needs no other file: the pictures are for use elsewhere. A page that exists is replaced in one rename.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    for film in data.films:
        if film.steps and film.rows:
            save_png(film_picture(film), out_dir / f"film-{film.slug}.png")
    strips = [strip for strip in data.strips if strip.film.steps and strip.film.rows]
    for strip in strips:
        save_png(value_picture(strip, shared_ends(strips)), out_dir / f"value-{strip.film.slug}.png")
    for iteration in data.iterations:
        picture = None if iteration.advantage is None else histogram_picture(iteration.advantage)
        if picture is not None:
            save_png(picture, out_dir / f"advantages-{iteration.index}.png")
    return write_page(data, sections, out_dir)


def write_page(data: ReportData, sections: Sequence[Section], out_dir: Path) -> Path:
    """Writes the page that these sections make of `data` into `out_dir`, in one rename; returns its path."""
    page = out_dir / FILE_NAME
    # A path or a message may hold bytes that are no text: the page shows them spelled out.
    write_atomic(page, escaped(render(data, sections)).encode(), durable=False)
    return page


def render(data: ReportData, sections: Sequence[Section] = SECTIONS) -> str:
    """The page as text; by default of every section."""
    environment = page_environment()
    parts = [part for section in sections if (part := _part(environment, section, data)) is not None]
    return environment.get_template("page.html").render(data=data, sections=parts, style=page_style())


def page_style() -> Markup:
    """What stands in the style element of a page."""
    environment = page_environment()
    style, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    return Markup(style)


def _part(environment: jinja2.Environment, section: Section, data: ReportData) -> Mapping[str, Any] | None:
    context = section.context(data)
    if context is None:
        return None
    if isinstance(context, str):
        return {"id": section.id, "title": section.title, "absent": context, "body": ""}
    body = environment.get_template(f"{section.id}.html").render(context)
    return {"id": section.id, "title": section.title, "absent": "", "body": Markup(body)}


def marks_at(film: Film) -> list[list[Mark]]:
    """The marks of each shown moment: those that it is closest to."""
    found: list[list[Mark]] = [[] for _ in film.steps]
    for mark in merge_sides(film.marks):
        found[nearest(mark.t, film.steps)].append(mark)
    return found


def edge(marks: Sequence[Mark]) -> str:
    """The colour of a frame's edge: an error outranks a milestone."""
    tones = {mark.tone for mark in marks}
    return next((tone for tone in ("bad", "good") if tone in tones), "")


@cache
def page_environment() -> jinja2.Environment:
    """Where the templates of pages are, with what they may call."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        percent=formats.percent,
        share=formats.share,
        points=formats.points,
        signed=formats.signed,
        figure=formats.figure,
        duration=formats.duration,
        when=formats.when,
        words=formats.words,
        data_uri=data_uri,
        marks_at=marks_at,
        edge=edge,
    )
    # Macros are a module without context, so that no section's variable reaches into them.
    environment.globals["m"] = environment.get_template("macros.html").module
    return environment
