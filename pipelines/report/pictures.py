"""The pictures of a report: films of attempts, and the values that were predicted along them, as plain frozen data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from recap.errors import ConfigError
from recap.types import BoolArray, FloatArray, FrameArray, Outcome, Source

TONES = {1: "good", -1: "bad", 0: "plain"}
"""{sign of a mark's kind: how it is coloured}"""

_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """An event at control step `t`: kind +1 milestone, -1 error, 0 neither."""

    t: int
    name: str
    kind: int

    @property
    def tone(self) -> str:
        """How it is coloured."""
        return TONES[(self.kind > 0) - (self.kind < 0)]


def merge_sides(marks: Iterable[Mark]) -> list[Mark]:
    """Marks with the left and the right hand's event of one step and name written as one.

    Example:
        >>> left, right = Mark(t=3, name="grasped_left", kind=0), Mark(t=3, name="grasped_right", kind=0)
        >>> [mark.name for mark in merge_sides([left, right])]
        ['grasped_both']
    """
    groups: dict[Mark, list[Mark]] = {}
    for mark in marks:
        both = Mark(t=mark.t, name=_SIDE.sub("both", mark.name), kind=mark.kind)
        groups.setdefault(both, []).append(mark)
    merged: list[Mark] = []
    for both, group in groups.items():
        merged += [both] if len({mark.name for mark in group}) > 1 else group
    return merged


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FilmRow:
    """The shown frames of one camera."""

    camera: str
    frames: FrameArray
    """[n, h, w, 3] uint8 RGB, one for each of `Film.steps`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Film:
    """Evenly spaced frames of one attempt."""

    slug: str
    """Name of the picture file: lower-case letters, digits, dashes."""
    title: str
    episode_id: str
    start_seed: int | None
    outcome: Outcome
    length: int
    """T, control steps of the whole attempt."""
    rate_hz: float
    steps: tuple[int, ...]
    """n control steps that are shown."""
    rows: tuple[FilmRow, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.slug):
            raise ConfigError(
                f"film slug {self.slug!r} cannot name a file: expected lower-case letters, digits, dashes"
            )
        for row in self.rows:
            frames = row.frames
            if frames.ndim != 4 or frames.shape[0] != len(self.steps) or frames.shape[3] != 3:
                raise ConfigError(
                    f"film '{self.slug}', camera '{row.camera}': frames of shape {frames.shape}, "
                    f"expected [{len(self.steps)}, h, w, 3]"
                )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ValueStrip:
    """A film with what the value model said along it. T is `film.length`."""

    film: Film
    """Its marks are the key frames."""
    iteration: int
    """Whose value models these are."""
    source: Source
    value: FloatArray
    """[T] in [-1, 0], higher is better."""
    intervened: BoolArray
    """[T] a human acted."""
    spread: FloatArray | None = None
    """[T] standard deviation over noise draws, >= 0."""
    advantage: FloatArray | None = None
    """[T]"""
    positive: BoolArray | None = None
    """[T] labelled positive, forced frames among them."""
    forced: BoolArray | None = None
    """[T] positive because a human acted."""
    threshold: float | None = None
    """Advantages above it are positive."""
    held_out: bool = True
    """The model had not seen the episode."""
    privileged_marks: bool = False
    """The key frames are the simulator's own record: no label of the episode holds any."""

    def __post_init__(self) -> None:
        for name in ("value", "intervened", "spread", "advantage", "positive", "forced"):
            array = getattr(self, name)
            if array is not None and array.shape != (self.film.length,):
                raise ConfigError(
                    f"value strip '{self.film.slug}': {name} of shape {array.shape}, expected ({self.film.length},)"
                )
