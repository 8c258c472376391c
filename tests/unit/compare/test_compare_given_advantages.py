"""Models that give their advantages themselves, in a comparison: judged by them, and at their own look-ahead alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import InlineExecutor
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.compare.graph import HORIZONS, Judged, build_comparison
from pipelines.compare.page import write_comparison
from pipelines.compare.source import Episodes
from pipelines.compare.table import shown_state
from pipelines.config import RunConfig
from pipelines.invocation import Invocation
from pipelines.steps.annotate.step import AnnotateConfig
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.wiring import label_lookaheads
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.graph import Graph, OutputRef
from recap.runner import Runner, RunSummary
from recap.types import Outcome
from recap.workspace import Workspace

TASK, UNSEEN = "shirt_folding", "pants_folding"


def compared(
    models: Sequence[str], settings: Sequence[str] = (), ids: Sequence[str] = (), *, unseen: str | None = UNSEEN
) -> tuple[RunConfig, Episodes, Judged]:
    """A comparison of the episodes `ids`, not run yet."""
    config = Invocation.of(
        task=TASK, preset="micro", value=models[0], values=",".join(models[1:]), settings=settings
    ).config()

    def attach(graph: Graph, _: RunConfig) -> tuple[OutputRef, OutputRef]:
        experience = graph.constant("1/experience", EpisodeSet.of(ids).to_json())
        return experience, graph.add("1/annotate", "annotate", AnnotateConfig(), experience=experience)["annotations"]

    episodes = Episodes(config=config, iteration=1, name="c", told="made up", attach=attach)
    return config, episodes, build_comparison(config, episodes, ablate=(), seeds=1, unseen=unseen)


def committed(store: EpisodeStore, task: str, seeds: Sequence[int]) -> tuple[str, ...]:
    drafts = [synthetic_draft(seed, length=30, height=32, width=32, task=task) for seed in seeds]
    wins = [Outcome.FAILURE if seed % 4 == 3 else Outcome.SUCCESS for seed in seeds]
    return tuple(store.commit(draft, synthetic_truth(draft, won)) for draft, won in zip(drafts, wins, strict=True))


def ran(
    folder: Path, models: Sequence[str], settings: Sequence[str] = ()
) -> tuple[Workspace, RunConfig, Episodes, Judged, RunSummary]:
    """A comparison on eight made-up episodes and four of the unseen task, which stand for its demonstrations."""
    workspace = Workspace.open(folder)
    store = EpisodeStore(workspace.episodes)
    config, episodes, judged = compared(models, settings, committed(store, TASK, range(8)))
    graph: Any = judged.graph
    shown = graph.constant("0/shown", EpisodeSet.of(committed(store, UNSEEN, range(20, 24))).to_json())
    for node in graph._nodes.values():
        node.inputs.update({name: shown for name, ref in node.inputs.items() if ref.node == f"0/{UNSEEN}/record"})
    del graph._nodes[f"0/{UNSEEN}/record"]
    return workspace, config, episodes, judged, Runner(workspace, InlineExecutor).run(graph, "c")


def test_the_unseen_task_is_judged_by_advantages_that_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, config, episodes, judged, summary = ran(tmp_path / "w", ("clock", "steam"))
    clock, steam = (
        FrameTable.read(summary.outputs[f"1/{name}/label_unseen"]["values"].path).arrays for name in judged.entries
    )
    assert "advantage" not in clock
    assert np.isfinite(steam["advantage"]).all()
    health = summary.outputs["1/seed0/judge"]["value_health"].read(ValueHealth)
    assert health.held_out

    written: list[str] = []

    def noted(path: Path, content: bytes, *, durable: bool) -> None:
        written.append(path.name)
        write_atomic(path, content, durable=durable)

    monkeypatch.setattr("pipelines.compare.page.write_atomic", noted)
    monkeypatch.setattr("pipelines.compare.table.write_atomic", noted)
    page = write_comparison(workspace, judged, config, episodes, summary, "recap compare", tmp_path / "out").read_text()
    assert written == ["compare.html", "compare.csv", "compare.json"], "what says that it is there comes last"
    assert "Figures on held-out episodes" in page
    assert "Left out: steam." in page
    found = (tmp_path / "out" / "compare.json").read_text()
    assert '"horizons_without": [\n  "steam"\n ]' in found
    ahead = summary.outputs["1/seed0-ahead10/judge"]["value_health"].read(ValueHealth)
    assert set(ahead.models) == {"clock"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"state": '])
def test_a_table_that_is_not_whole_shows_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "compare.json").write_text(content)
    assert shown_state(tmp_path) == ""


@pytest.mark.slow
def test_without_folds_the_page_does_not_say_held_out(tmp_path: Path) -> None:
    workspace, config, episodes, judged, summary = ran(tmp_path / "w", ("clock", "state_only"), ["cross_fit=1"])
    page = write_comparison(workspace, judged, config, episodes, summary, "recap compare", tmp_path / "out").read_text()
    assert "Figures on held-out episodes" not in page
    assert "The models were trained on these episodes (no cross-fitting)" in page
    assert "Left out:" not in page
    assert '"held_out": false' in (tmp_path / "out" / "compare.json").read_text()


def test_its_look_ahead_on_the_unseen_task_is_that_of_the_labels() -> None:
    _, _, judged = compared(("steam", "clock"), ["advantage.label.lookahead_s=4"])
    nodes = {node.name: node for node in judged.graph.order()}
    facts = nodes["1/steam/label_unseen"].facts
    assert facts.lookahead == nodes["1/seed0-unseen/judge"].facts.lookahead
    assert facts.lookahead[UNSEEN] != label_lookaheads(compared(("clock",))[0])[TASK]
    assert nodes["1/clock/label_unseen"].facts.lookahead == {}


def test_other_look_aheads_are_of_the_models_that_depend_on_them() -> None:
    judged = compared(("steam", "clock", "state_only"))[2]
    assert tuple(judged.horizons) == HORIZONS
    nodes = {node.name: node for node in judged.graph.order()}
    for (name,) in judged.horizons.values():
        assert [key for key in nodes[name].inputs if key.startswith("values/")] == ["values/clock", "values/state_only"]
        assert nodes[name].facts.name == "clock"
    assert judged.gives_advantages == ("steam",)
    alone = compared(("steam",))[2]
    assert alone.horizons == {}
    assert not [node for node in alone.graph.order() if "ahead" in node.name]


def test_a_horizon_that_such_a_model_does_not_read_is_refused() -> None:
    settings = ["advantage.label.horizon=episode"]
    compared(("clock", "state_only"), settings)
    with pytest.raises(ConfigError, match="horizon = episode: 'steam' gives its advantages itself"):
        compared(("clock", "steam"), settings)
