"""What a person asks of an import of a LeRobotDataset, the command that asks for it, and what it did."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

JPEG_QUALITY = 95
_OPTIONS = {"cameras": "camera"}
"""{field: option}, where they differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRequest:
    """What a person asked for. Fields are the options of `recap data import`."""

    dataset: Path
    task: str
    source: str = "demo"
    policy: str | None = None
    robot: str | None = None
    """None: what the dataset or the task says."""
    cameras: tuple[str, ...] = ()
    """ "cam_high=observation.images.top"; none: every picture of the dataset."""
    state: tuple[str, ...] = ("observation.state",)
    action: tuple[str, ...] = ("action",)
    image_size: str | None = None
    """ "224" or "240x320"; None: as recorded."""
    jpeg_quality: int | None = JPEG_QUALITY
    """None: lossless."""
    outcome_column: str = ""
    outcomes: Path | None = None
    """File of episode_index,outcome[,note]."""
    outcome_rule: str = ""
    """ "once" or "end": what counts of a column of the frames that says both."""
    intervention_column: str = ""
    episodes: str | None = None
    """ "0-3,7"; None: all."""
    told: tuple[str, ...] = ()
    """Only episodes that were told one of these; none: all."""
    instruction: str | None = None
    """The wording to use instead of what the dataset says."""
    nominal_times: float | None = None
    """Frames stand at their nominal times, if recorded times and pictures lie within so many seconds of them."""
    skip_broken: bool = False

    def again(self, root: Path, **changed: Any) -> str:
        """The command that asks for the same with some fields changed, to be typed."""
        words = ["recap", "data", "import", str(self.dataset)]
        for item in fields(self):
            value = changed.get(item.name, getattr(self, item.name))
            if item.name == "dataset" or value in (None, item.default):
                continue
            option = "--" + _OPTIONS.get(item.name, item.name).replace("_", "-")
            if value is True:
                words.append(option)
            else:
                for one in value if isinstance(value, tuple) else (value,):
                    text = f"{one:g}" if isinstance(one, float) else str(one)
                    # What looks like an option has to be tied to its own.
                    words += [f"{option}={text}"] if text.startswith("-") else [option, text]
        if self.jpeg_quality is None:
            words.append("--lossless")
        return shlex.join(words if root == Path("runs") else [*words, "--workspace", str(root)])


@dataclass(kw_only=True, slots=True)
class ImportResult:
    """What an import did."""

    dataset: str = ""
    task: str
    imported: int = 0
    known: int = 0
    """Episodes that were here already."""
    frames: int = 0
    """Of both."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """{outcome: episodes}, "none" for those without."""
    ids: dict[int, str] = field(default_factory=dict)
    """{number in the dataset: episode id}"""
    left_out: dict[int, str] = field(default_factory=dict)
    """{number in the dataset: what is wrong with it}"""
    task_file: str | None = None
    """The description that was drafted for a task nobody knew."""
    too_long: list[int] = field(default_factory=list)
    """Numbers of the episodes that are longer than the task allows."""
    unused: list[str] = field(default_factory=list)
    """Picture features that were not taken."""
    wordings: dict[str, int] = field(default_factory=dict)
    """{what the robot was told: episodes}"""
    mixed: list[int] = field(default_factory=list)
    """Numbers of the episodes that were told several things; each has the wording of most of its frames."""
    told_otherwise: int = 0
    """Episodes that `--told` left out."""
    unnamed: list[str] = field(default_factory=list)
    """Columns whose names do not fit their numbers: those are called by column and place."""
    renamed: dict[str, list[str]] = field(default_factory=dict)
    """{"state" or "action": names in the dataset}, where the task has others for as many numbers."""
    other_outcomes: int = 0
    """Rows of the outcomes file that are of episodes which were not taken."""
    reworded: dict[str, int] = field(default_factory=dict)
    """{what the dataset says now: episodes that were here already and keep what they were told}"""
    seconds: float = 0.0
