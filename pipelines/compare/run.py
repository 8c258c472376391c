"""One `recap compare`: options -> graph -> runner -> figures, tables and a page.

The same runner, journal and tracker as `recap run`: a killed comparison goes on where it was when it is issued again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.compare.graph import Judged, build_comparison, unseen_task
from pipelines.compare.request import Comparison
from pipelines.compare.source import Episodes, episodes_of
from pipelines.compare.table import shown_state, state_of
from pipelines.config import RunConfig
from pipelines.run import watched
from pipelines.settings import set_all
from recap.explain import is_finished
from recap.graph import Graph
from recap.hub import fetched
from recap.runner import RunSummary
from recap.workspace import Workspace, check_name

PAGE = "compare.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonResult:
    """What a comparison left behind."""

    name: str
    executed: tuple[str, ...]
    """Nodes whose step ran."""
    cached: tuple[str, ...]
    seconds: float
    page: Path
    table: Path
    """JSON; CSV of the same name lies beside it."""
    command: str
    """Issues it again."""


def run_comparison(root: Path, asked: Comparison, say: Callable[[str], None]) -> ComparisonResult:
    """Brings a comparison up to date and returns where it stands.

    Args:
        root: workspace directory.
        asked: what to compare.
        say: prints one line for a person.

    Raises:
        RecapError: see recap.errors; nothing that was finished is lost.
    """
    asked = asked.resolved(root)
    episodes = episodes_of(root, asked, say)
    config, judged = _wired(asked, episodes)
    name = check_name("comparison", asked.name or episodes.name)
    if not (root.is_dir() and is_finished(Workspace.open(root), judged.graph, name)):
        if fetched(config, say) != config:
            config, judged = _wired(asked, episodes)  # which binds names of a hub to what is here now
        _check_ahead(config, judged, root)
    workspace = Workspace.open(root)
    out = workspace.run_dir(name) / "compare"

    def write(summary: RunSummary) -> Path:
        from pipelines.compare.page import write_comparison

        return write_comparison(workspace, judged, config, episodes, summary, asked.command(root), out)

    with workspace.lock(f"compare {name}"):
        params = {"task": ",".join(config.tasks), "values": ",".join(judged.entries), "seeds": asked.seeds}
        with watched(workspace, config, name, params, say, again=asked.command(root)) as (runner, watch):
            began = time.monotonic()
            summary = runner.run(judged.graph, name)
            seconds = time.monotonic() - began
            if not ((out / PAGE).exists() and shown_state(out) == state_of(judged, summary)):
                watch.finished(write(summary))
    return ComparisonResult(
        name=name,
        executed=tuple(summary.executed),
        cached=tuple(summary.cached),
        seconds=seconds,
        page=out / PAGE,
        table=out / "compare.json",
        command=asked.command(root),
    )


def _wired(asked: Comparison, episodes: Episodes) -> tuple[RunConfig, Judged]:
    config = episodes.config
    if asked.seed is not None:
        config = replace(config, seed=asked.seed)
    if asked.executor is not None:
        config = replace(config, executor=replace(config.executor, name=asked.executor))
    if asked.tracker is not None:
        config = replace(config, tracker=asked.tracker)
    unseen = unseen_task(config, asked.unseen, simulated=asked.demos is None and not config.offline)

    def wire(changed: RunConfig) -> Judged:
        return build_comparison(changed, episodes, ablate=asked.ablate, seeds=asked.seeds, unseen=unseen)

    def graph_of(changed: RunConfig) -> Graph:
        return wire(changed).graph

    config = set_all(config, asked.settings, graph_of)
    return config, wire(config)


def _check_ahead(config: RunConfig, judged: Judged, root: Path) -> None:
    """What would be refused later."""
    from value_model.models import family_of

    if config.offline and config.demos_from:
        from pipelines.preflight.recorded import check_recordings

        check_recordings(config, root)
    if judged.unseen is not None:
        from pipelines.attempts import renderer_here

        renderer_here(root, (judged.unseen,), config.env.renderer)
    for entry in judged.entries.values():
        family_of(entry.model).check_files(entry.model)
