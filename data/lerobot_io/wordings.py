"""What the robot was told in an episode, in words: one wording for each, from the tasks of its frames.

LeRobot's reader goes by the task_index of each frame and the table of tasks; so does this one. An episode that was told
several things has the wording of most of its frames. Where the files do not say, or contradict each other, it asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder
from data.lerobot_io.tables import EpisodeTable
from recap.errors import ConfigError

_ASK = "give the wording to use: --instruction TEXT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What one episode was told."""

    wording: str
    """"" if nothing."""
    others: tuple[str, ...] = ()
    """What fewer of its frames were told."""


def told_in(folder: LeRobotFolder, entry: EpisodeEntry, table: EpisodeTable) -> Told:
    """The wording of an episode.

    Raises:
        ConfigError: its frames were told several things and nothing says which frame was told what, or the table of
            tasks and the meta of the episode contradict each other.
    """
    where = f"{folder.root}: episode {entry.index}"
    frames = table.tasks()
    if folder.tasks_problem:
        raise ConfigError(f"{where}: what it was told is not known: {folder.tasks_problem}", hint=_ASK)
    if not folder.tasks or not frames:
        if len(entry.instructions) > 1:
            raise ConfigError(
                f"{where} was told {', '.join(map(repr, entry.instructions))}; which of its frames was told what is "
                "not known: there is no table of tasks",
                hint=_ASK,
            )
        return Told(wording=entry.instructions[0] if entry.instructions else "")
    unknown = sorted(set(frames) - set(folder.tasks))
    if unknown:
        raise ConfigError(f"{where}: task_index {unknown[0]} is not in the table of tasks", hint=_ASK)
    counts: dict[str, int] = {}
    for index, count in frames.items():
        text = folder.tasks[index]
        counts[text] = counts.get(text, 0) + count
    spoken = {text: count for text, count in counts.items() if text.strip()}
    strange = sorted(set(spoken) - set(entry.instructions))
    if strange and entry.instructions:
        raise ConfigError(
            f"{where}: its frames were told {strange[0]!r}, its meta says {', '.join(map(repr, entry.instructions))}",
            hint=_ASK,
        )
    ordered = sorted(spoken, key=lambda text: -spoken[text])  # stable: of two that are even, the first in time
    return Told(wording=ordered[0] if ordered else "", others=tuple(ordered[1:]))
