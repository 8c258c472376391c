"""`recap lineage`: what a policy, a set of labels, a value model or an episode was made of, and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.episode_set import EpisodeSet
from pipelines.invocation import Invocation
from recap.champion import read_champion
from recap.errors import ConfigError, RecapError, UnknownName
from recap.lineage import Lineage, Made, read_lineage
from recap.step import Artifact
from recap.store import Store
from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One result in a lineage."""

    made: Made
    episodes: int | None
    """How many it lists, if it is a set of episodes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What `recap lineage` says."""

    asked: str
    """In words: "champion of run X", "policy of 1/policy", "episode"."""
    identity: str
    """sha256 (hex) of its content."""
    made_of: tuple[Line, ...]
    """Nearest first; nothing of an episode, which no step makes anew."""
    made_from: tuple[Line, ...]
    """Oldest first."""
    unreadable: tuple[str, ...]


def lineage_of(root: Path, what: str | None) -> Answer:
    """Looks up a run (its champion), or whatever has an identity that begins as given: an output, or an episode.

    Args:
        root: workspace directory.
        what: name of a run, or the first digits of an identity; None: the run that was started last.

    Raises:
        ConfigError: neither, or several begin so.
    """
    workspace = Workspace.open(root, create=False)
    lineage = read_lineage(workspace)
    if what is None or what in workspace.run_names():
        run = Invocation.load(root, what).name
        champion = read_champion(workspace, run)
        if champion is None:
            raise ConfigError(f"run '{run}' has no champion yet", hint=f"recap resume {run}")
        return _answer(workspace, lineage, f"champion of run {run}", champion.identity)
    try:
        identity = lineage.find(what)
    except UnknownName:
        return _of_episode(workspace, lineage, what)
    maker = lineage.maker(identity)
    assert maker is not None, "find looks among outputs"
    output = next(name for name, value in maker.outputs.items() if value == identity)
    return _answer(workspace, lineage, f"{output} of {maker.node or maker.step}", identity)


def _answer(workspace: Workspace, lineage: Lineage, asked: str, identity: str) -> Answer:
    return Answer(
        asked=asked,
        identity=identity,
        made_of=tuple(_line(workspace, one) for one in lineage.made_of(identity)),
        made_from=tuple(_line(workspace, one) for one in lineage.made_from(identity)),
        unreadable=lineage.unreadable,
    )


def _of_episode(workspace: Workspace, lineage: Lineage, start: str) -> Answer:
    """Whatever was made from the sets that list an episode."""
    holders: dict[str, list[Made]] = {}
    for one in lineage.made:
        for episode in _episodes(workspace, one) or ():
            if episode.startswith(start):
                holders.setdefault(episode, []).append(one)
    if not holders:
        raise UnknownName(
            f"'{start}' is no run, and no result or episode of a run has an identity that begins so",
            hint="recap list, recap status, recap data stats",
        )
    if len(holders) > 1:
        raise ConfigError(f"'{start}' begins the ids of {len(holders)} episodes", hint="give more digits")
    [(episode, sets)] = holders.items()
    keys = {one.key for one in sets}
    reached = {one.key for held in sets for value in held.outputs.values() for one in lineage.made_from(value)}
    used = [one for one in lineage.made if one.key in keys | reached]
    return Answer(
        asked="episode",
        identity=episode,
        made_of=(),
        made_from=tuple(_line(workspace, one) for one in used),
        unreadable=lineage.unreadable,
    )


def _line(workspace: Workspace, one: Made) -> Line:
    episodes = _episodes(workspace, one)
    return Line(made=one, episodes=None if episodes is None else len(episodes))


def _episodes(workspace: Workspace, one: Made) -> tuple[str, ...] | None:
    """The ids that a result lists as its `episodes`; None if it has no such output, or it is torn."""
    if "episodes" not in one.outputs:
        return None
    path = Store(workspace).path(one.step, one.key) / "episodes.json"
    try:
        return EpisodeSet.from_json(Artifact(name="episodes", identity=one.outputs["episodes"], path=path).json()).ids
    except (RecapError, OSError, ValueError):  # `recap verify` says what is wrong with it
        return None
