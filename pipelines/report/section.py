"""What a section of the page is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.report.model import ReportData


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page; its markup is `templates/<id>.html`, where `m` holds the page's macros."""

    id: str
    """Anchor on the page."""
    title: str
    context: Callable[[ReportData], Mapping[str, Any] | str | None]
    """Variables of the template; a sentence that says why there is nothing to show yet; or None to leave it out."""
