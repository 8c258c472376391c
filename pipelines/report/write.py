"""Turns ReportData into one HTML file and the film strips beside it.

Owns the page as a file: rendering, autoescape, atomic writing. Knows nothing of workspaces: `collect` does. The page
holds all it needs; its own content-security policy forbids scripts and every fetch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.report import formats
from pipelines.report.filmstrip import film_strip, nearest, save_png, stack_cameras
from pipelines.report.model import ReportData
from pipelines.report.pictures import Film, merge_sides
from pipelines.report.prints import histogram_picture, shared_ends, value_picture
from pipelines.report.section import Section, all_sections
from recap.files import write_atomic
from recap.texts import escaped
from recap.types import FrameArray

FILE_NAME = "report.html"


def write_report(data: ReportData, out_dir: Path, sections: Sequence[Section] | None = None) -> Path:
    """Writes `report.html` (by default of every section) and its main pictures into `out_dir`; returns the page's path.

    The pictures: `film-<slug>.png` per film, `value-<slug>.png` per value strip, `advantages-<iteration>.png`.

    The page needs no other file: the pictures are for use elsewhere. A page that exists is replaced in one rename.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    for film in data.films:
        if film.steps and film.rows:
            save_png(film_picture(film), out_dir / f"film-{film.slug}.png")
    for name, picture in _prints(data):
        save_png(picture, out_dir / f"{name}.png")
    return write_page(data, sections, out_dir)


def write_page(data: ReportData, sections: Sequence[Section] | None, out_dir: Path) -> Path:
    """Writes the page that these sections make of `data` into `out_dir`, in one rename; returns its path."""
    page = out_dir / FILE_NAME
    # A path or a message may hold bytes that are no text: the page shows them spelled out.
    write_atomic(page, escaped(render(data, sections)).encode(), durable=False)
    return page


def render(data: ReportData, sections: Sequence[Section] | None = None) -> str:
    """The page as text; by default of every section."""
    environment = _environment()
    chosen = all_sections() if sections is None else sections
    parts = [_part(environment, section, data) for section in chosen]
    style, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    return environment.get_template("page.html").render(
        data=data, sections=[part for part in parts if part is not None], style=Markup(style)
    )


def _prints(data: ReportData) -> Iterator[tuple[str, FrameArray]]:
    """(name, picture) of the value strips and of the advantages."""
    strips = [strip for strip in data.strips if strip.film.steps and strip.film.rows]
    if strips:
        ends = shared_ends(strips)
        for strip in strips:
            yield f"value-{strip.film.slug}", value_picture(strip, ends=ends)
    for iteration in data.iterations:
        picture = None if iteration.advantage is None else histogram_picture(iteration.advantage)
        if picture is not None:
            yield f"advantages-{iteration.index}", picture


def film_picture(film: Film) -> Any:
    """The film as one picture, cameras above each other: [H, W, 3] uint8."""
    frames = stack_cameras([row.frames for row in film.rows])
    scale = max(1, round(128 / frames.shape[2]))
    return film_strip(
        frames,
        count=len(film.steps),
        scale=scale,
        captions=[f"{step} ({step / film.rate_hz:.1f} s)" for step in film.steps],
        marks=[(nearest(mark.t, film.steps), mark.name, mark.kind) for mark in merge_sides(film.marks)],
    )


@cache
def _environment() -> jinja2.Environment:
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
    )
    # Macros are a module without context, so that no section's variable reaches into them.
    environment.globals["m"] = environment.get_template("macros.html").module
    environment.globals["cells"] = environment.get_template("cells.html").module
    return environment


def _part(environment: jinja2.Environment, section: Section, data: ReportData) -> Mapping[str, Any] | None:
    context = section.context(data)
    if context is None:
        return None
    if isinstance(context, str):
        return {"id": section.id, "title": section.title, "absent": context, "body": ""}
    body = environment.from_string(section.template).render(context)
    return {"id": section.id, "title": section.title, "absent": "", "body": Markup(body)}
