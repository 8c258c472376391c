"""What a generated LeRobotDataset is like, drawn from a seed, and which of its features an import may refuse.

A plan says everything of a folder but its pixels and numbers, which follow from its seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

ALL = set(range(99))
CODECS = {
    "h264": ("libx264", {"preset": "ultrafast", "bf": "0"}),
    "h264-b": ("libx264", {"preset": "superfast", "bf": "2"}),
    "h264-open": ("libx264", {"preset": "superfast", "bf": "2", "x264-params": "open-gop=1"}),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}),
    "mpeg4": ("mpeg4", {"bf": "0"}),
    "mpeg4-b": ("mpeg4", {"bf": "2"}),
}
"""{name: encoder and its options}. libx265 is left out: it corrupts the heap at pictures as small as these."""

DAMAGE = {
    "rows_permuted": {0},
    "row_twice": {0},
    "row_gone": {0},
    "length": {0},
    "two_tables": {0},
    "beyond": {0},
    "meta_permuted": ALL,
    "tasks_permuted": ALL,
    "before": ALL,
    "end_first": ALL,
    "rgba": ALL,
    "jumps": set(),
    "rates": set(),
}
"""{trouble: places of the episodes of which it may be the reason to refuse what LeRobot reads}

- rows_permuted: two rows of an episode have changed places.
- row_twice, row_gone: a row stands there twice, or was taken out of the middle (its picture was not).
- length: meta says another length than the table. LeRobot does not look.
- two_tables: the rows of an episode lie in two files. LeRobot reads all files.
- beyond: the times of a cut film were kept, so rows stand for pictures of the next episode.
- meta_permuted: the rows of meta are not in the order of the episodes. LeRobot goes by place, not by episode_index.
- tasks_permuted: the table of tasks is not in the order of its numbers. LeRobot goes by place.
- before: row times begin below 0.
- end_first: an episode is said to end in its film before it begins.
- rgba: pictures with a mask.
- jumps, rates: row times and pictures leave the rate for good, or row times wander about it. Where they are farther off
  than an import allows is told by the rows.
"""
RATE_TOLERANCE = 0.1
"""Of a period: how far row times may wander from the rate, as docs/datasets.md says."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One dataset. The defaults are the plainest one that there is."""

    seed: int = 0
    """Of pixels and numbers."""
    version: str = "v3.0"
    lengths: tuple[int, ...] = (4, 3)
    fps: float = 10
    whole: bool = False
    """fps is written as an integer."""
    cameras: int = 1
    pictures: str = "video"
    """ "video", or how pictures lie in the table: "PNG", "JPEG", "grey" """
    codec: str = "h264"
    group: int = 3
    """Pictures from one key frame to the next."""
    scale: int = 0
    """Ticks per second of the films; 0: one tick per picture, which mp4 makes finer."""
    scale_kept: bool = False
    """The film keeps exactly this time base."""
    container: str = "plain"
    """ "plain", "faststart", "fragments", "fragment_each", "late_moov", "no_edits", "negative_cts" """
    share: str = "all"
    """Which episodes lie in one film: "all", "pairs", "none". Version 2 has one film for each."""
    late: float = 0
    """Periods before the first picture."""
    late_told: bool = True
    """Row times and places in the film go by that; else they are those of a film that begins at 0."""
    cut: int = 0
    """Pictures at the front of each film that lie before its time 0: hidden by its edit list."""
    spare: tuple[int, int, int] = (0, 0, 0)
    """Pictures that belong to no episode: before the first, between two, after the last of a film."""
    again: bool = False
    """The second episode lies in the film where the first one does."""
    vfr: float = 0
    """How far pictures lie from the grid of the rate, in periods."""
    kept: int = 0
    """Row times begin so many periods after the place that meta gives: an episode cut at its front."""
    numbered_on: bool = False
    """Such an episode kept its frame numbers too."""
    from_int: bool = False
    """Places in the films are whole seconds, written as integers."""
    end: str = "said"
    """Where an episode ends in its film: "said", "absent", "int" """
    times: str = "nominal"
    """Row times: "nominal", n / fps from the first, or "film", those of the pictures."""
    jitter: float = 0
    """How far row times lie from that, in seconds."""
    time_type: str = "float32"
    time_said: str = "float32"
    """Type of the column, and the type that info.json names."""
    number_type: str = "float32"
    fixed_lists: bool = False
    lost: bool = False
    """A picture that a row stands for is not in the film."""
    tasks: str = "one"
    """ "one", "episode": one for each, "frame": some frames of an episode were told another """
    task_numbers: int = 0
    """The number of the first task; version 2 alone."""
    tables: int = 1
    """Files for the rows, where the version leaves a choice."""
    metas: int = 1
    """Files for the rows of meta."""
    row_groups: int = 0
    """Rows in a row group; 0: all."""
    interleaved: bool = False
    """Rows of different episodes alternate; within each they are in order."""
    gaps: bool = False
    """Numbers of the episodes have gaps. LeRobot cannot open that: it reads the same without gaps."""
    damage: str = ""

    def __str__(self) -> str:
        changed = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.unusual())
        return f"Plan({changed})"

    def unusual(self) -> list[str]:
        """The fields that are not as in the plainest one."""
        return [item.name for item in fields(self) if getattr(self, item.name) != item.default]

    def simpler(self) -> Iterator[Plan]:
        """The same with one field made plain."""
        for name in self.unusual():
            yield settled(dataclasses.replace(self, **{name: Plan.__dataclass_fields__[name].default}))

    @property
    def v2(self) -> bool:
        return self.version != "v3.0"

    def may_be_refused(self, place: int) -> bool:
        """Whether an import may refuse an episode that LeRobot reads, whatever its row times are."""
        return bool(self.damage) and place in DAMAGE[self.damage]


def draw(seed: int) -> Plan:
    """The plan of a seed: of each kind of trouble most have none, a few have several."""
    rng = np.random.default_rng([0x1EB07, seed])

    def one(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    def rarely(share: float, usual: Any, other: Callable[[], Any]) -> Any:
        return other() if rng.random() < share else usual

    version = one("v2.0", "v2.1", "v3.0", "v3.0", "v3.0", "v3.0")
    fps = one(10, 15, 30, 50, 29.97, 30000 / 1001, 12.5, 7.3, 2.5, 1, 3)
    episodes = int(rng.integers(2, 5))
    plan = Plan(
        seed=seed,
        version=version,
        lengths=tuple(int(n) for n in rng.integers(2, 8, episodes)),
        fps=fps,
        whole=bool(fps == int(fps) and rng.random() < 0.7),
        cameras=rarely(0.15, 1, lambda: 2),
        pictures=rarely(0.15, "video", lambda: one("PNG", "PNG", "JPEG", "grey")),
        codec=one("h264", "h264", "h264-b", "h264-b", "h264-open", "av1", "av1", "mpeg4", "mpeg4-b"),
        group=one(2, 3, 5, 250),
        scale=one(0, 0, 90000, 600, 1000, 12800, 1_000_000),
        scale_kept=bool(rng.random() < 0.5),
        container=rarely(
            0.4,
            "plain",
            lambda: one("faststart", "fragments", "fragment_each", "late_moov", "no_edits", "negative_cts"),
        ),
        share=one("all", "all", "pairs", "none"),
        late=rarely(0.25, 0, lambda: one(1, 2, 0.37, 5)),
        late_told=bool(rng.random() < 0.8),
        cut=rarely(0.15, 0, lambda: one(1, 2, 3)),
        spare=rarely(0.35, (0, 0, 0), lambda: tuple(int(n) for n in rng.integers(0, 4, 3))),
        again=bool(rng.random() < 0.05),
        vfr=rarely(0.15, 0, lambda: one(0.02, 0.06)),
        kept=rarely(0.3, 0, lambda: int(rng.integers(1, 5))),
        numbered_on=bool(rng.random() < 0.3),
        from_int=bool(rng.random() < 0.15),
        end=rarely(0.2, "said", lambda: one("absent", "int")),
        times=one("nominal", "film"),
        jitter=rarely(0.2, 0, lambda: one(2e-5, 5e-5, 3e-4, 3e-3)),
        time_type=one("float32", "float32", "float64"),
        time_said=one("float32", "float32", "float32", "float64"),
        number_type=one("float32", "float32", "float64"),
        fixed_lists=bool(rng.random() < 0.3),
        lost=bool(rng.random() < 0.06),
        tasks=one("one", "episode", "frame"),
        task_numbers=rarely(0.2, 0, lambda: 3),
        tables=one(1, 2, 9),
        metas=one(1, 1, 2),
        row_groups=one(0, 1, 2, 5),
        interleaved=bool(rng.random() < 0.1),
        gaps=bool(rng.random() < 0.1),
        damage=rarely(0.1, "", lambda: one(*DAMAGE)),
    )
    return settled(plan)


def settled(plan: Plan) -> Plan:
    """The plan without what it cannot have."""
    changed: dict[str, Any] = {}
    if plan.v2:
        # A film and a table for each episode, which begin with it.
        changed |= {"share": "none", "tables": 1, "from_int": False, "end": "said", "interleaved": False, "metas": 1}
        changed |= {"again": False}
    else:
        changed |= {"task_numbers": 0}
    if plan.pictures != "video":
        usual = Plan()
        for name in ("codec", "group", "scale", "scale_kept", "container", "share", "late", "cut", "spare", "again"):
            changed[name] = getattr(usual, name)
        changed |= {"vfr": 0, "lost": False, "from_int": False, "end": "said"}
    if plan.codec.startswith("mpeg4") and plan.scale > 65535:
        changed["scale"] = 600  # its own clock is of 16 bits
    if plan.codec == "mpeg4-b" and plan.container not in ("plain", "faststart"):
        changed["container"] = "plain"  # the writer of mp4 cannot do the others
    if plan.cut or plan.late:
        changed |= {"late": 0 if plan.cut else plan.late}
    if plan.fps == 1 and not plan.vfr and not plan.jitter and not plan.late and plan.seed % 2:
        changed |= {"time_type": "int64", "times": "nominal"}
    changed |= _settled_damage(plan)
    return dataclasses.replace(plan, **changed)


def _settled_damage(plan: Plan) -> dict[str, Any]:
    film = plan.pictures == "video"
    possible = {
        "two_tables": not plan.v2,
        "meta_permuted": not plan.v2 and not plan.gaps,
        "tasks_permuted": not plan.v2 and plan.tasks != "one",
        "beyond": film and not plan.v2 and plan.share == "all",
        "jumps": film and plan.lengths[0] > 3,
        "before": film and not plan.v2 and not plan.from_int,
        "end_first": film and not plan.v2,
        "rgba": plan.pictures == "PNG",
        "rates": not film,
        "row_gone": plan.lengths[0] > 2,
    }
    return {} if possible.get(plan.damage, True) else {"damage": ""}


def seeds_of(shard: int, size: int) -> Sequence[int]:
    """The seeds of a shard."""
    return range(shard * size, (shard + 1) * size)
