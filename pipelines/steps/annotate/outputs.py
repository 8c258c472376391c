"""What people and imports had said when episodes were annotated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Kept to see whether an answer has changed since."""

    given: Mapping[str, Any]
    """{episode id: answer as JSON} before anything completed it."""
    sources: Mapping[str, int]
    """{detector | imported | human: episodes}."""
