"""What a section of the report is, and how the sections are found.

One section is one module of `pipelines.report.sections` that holds a `SECTION`. A new one is a new file there: nothing
lists the files. A section turns ReportData into the variables of its own small template; the page's colours, macros
and frame belong to `templates/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.report.model import ReportData


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page."""

    id: str
    """Anchor on the page."""
    order: int
    """Sections stand in rising order."""
    title: str
    template: str
    """Jinja source, autoescaped; `m` holds the page's macros."""
    context: Callable[[ReportData], Mapping[str, Any] | str | None]
    """Variables of the template; a sentence that says why there is nothing to show yet; or None to leave it out."""


def all_sections() -> list[Section]:
    """Every section, in the order of the page."""
    package = importlib.import_module("pipelines.report.sections")
    found: list[Section] = [
        importlib.import_module(f"{package.__name__}.{module.name}").SECTION
        for module in pkgutil.iter_modules(package.__path__)
    ]
    return sorted(found, key=lambda section: (section.order, section.id))
