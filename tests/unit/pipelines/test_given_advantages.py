"""A value model that gives advantages itself: they, not differences of its values, become labels and are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import InlineExecutor
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.steps.annotate.step import AnnotateConfig
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.wiring import add_training
from recap.errors import ConfigError
from recap.graph import Graph
from recap.runner import Runner
from recap.types import Outcome, Source
from recap.workspace import Workspace

TASK = "shirt_folding"


def ran(workspace: Workspace, value: str) -> Any:
    """Outputs of value_train .. advantage by one value model on four demonstrations and four rollouts."""
    store = EpisodeStore(workspace.episodes)
    made = {}
    for source, first in ((Source.DEMO, 0), (Source.ROLLOUT, 10)):
        drafts = [synthetic_draft(first + seed, length=30, height=32, width=32, source=source) for seed in range(4)]
        wins = [Outcome.SUCCESS, Outcome.SUCCESS, Outcome.SUCCESS, Outcome.FAILURE]
        made[source] = [store.commit(d, synthetic_truth(d, won)) for d, won in zip(drafts, wins, strict=True)]
    config = Invocation.of(task=TASK, preset="micro", value=value, values="clock").config()
    graph = Graph()
    experience = graph.constant("experience", EpisodeSet.of([*made[Source.DEMO], *made[Source.ROLLOUT]]).to_json())
    episodes = graph.constant("episodes", EpisodeSet.of(made[Source.ROLLOUT]).to_json())
    annotations = graph.add("1/annotate", "annotate", AnnotateConfig(), experience=experience)["annotations"]
    base = graph.constant("base", {})
    next(add_training(graph, config, 1, episodes=episodes, experience=experience, annotations=annotations, base=base))
    del graph._nodes["1/policy"]  # labels are the end here
    return Runner(workspace, InlineExecutor).run(graph, "r").outputs


@pytest.mark.parametrize("value", ["steam", "state_only"])
def test_given_advantages_reach_labels_and_judgement(tmp_path: Path, value: str) -> None:
    outputs = ran(Workspace.open(tmp_path / "w"), value)
    values = FrameTable.read(outputs[f"1/{value}/value_label"]["values"].path).arrays
    labels = FrameTable.read(outputs["1/advantage"]["labels"].path)
    flips = outputs["1/judge"]["value_health"].read(ValueHealth).own.tasks[TASK].figures["flip_rate"]
    if value == "state_only":
        assert "advantage" not in values
        assert flips.value == 0
        return
    np.testing.assert_array_equal(labels.arrays["advantage"], values["advantage"])
    np.testing.assert_array_equal(labels.arrays["value"], values["value"])
    above = values["advantage"] > np.float32(labels.facts["thresholds"][TASK])
    free = ~labels.arrays["forced"]
    np.testing.assert_array_equal(labels.arrays["positive"][free], above[free])
    assert flips.value is None
    assert "gives its advantages itself" in flips.note


def test_a_horizon_that_such_a_model_does_not_read_is_refused() -> None:
    asked = {"task": TASK, "preset": "micro", "settings": ["advantage.label.horizon=episode"]}
    build_graph(Invocation.of(value="viva", **asked).config())
    with pytest.raises(ConfigError, match="horizon = episode: 'steam' gives its advantages itself"):
        build_graph(Invocation.of(value="steam", **asked).config())


def test_its_look_ahead_is_that_of_the_labels_and_of_no_other_model() -> None:
    settings = ["advantage.label.lookahead_s=4"]
    graph = build_graph(Invocation.of(task=TASK, preset="micro", value="steam", settings=settings).config())
    nodes = {node.name: node.facts for node in graph.order()}
    assert nodes["1/steam/value_label"].lookahead == nodes["1/advantage"].lookahead
    assert nodes["1/steam/value_label"].lookahead != nodes["1/steam/value_train"].lookahead
    assert nodes["1/clock/value_label"].lookahead == {}
