"""Which models a comparison trains, and the command that issues it again."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.compare.entries import base_of, entries, named_models
from pipelines.compare.request import ABLATIONS, Comparison
from pipelines.config import PRESETS, Models
from pipelines.invocation import Invocation
from recap.errors import ConfigError, UnknownName
from recap.workspace import Workspace
from value_model.models.clock import ClockConfig
from value_model.models.viva.config import tiny_config

CAMERAS = ("cam_left_wrist", "cam_high")
MODELS: dict[str, Any] = {"clock": ClockConfig(), "mine": tiny_config()}


def test_every_ablation_changes_one_thing_of_the_first_viva() -> None:
    weights = replace(tiny_config(), start="somewhere")
    changed: dict[str, set[str]] = {}
    for what in ABLATIONS:
        base = weights if what == "pretrained" else tiny_config()
        found = entries({"clock": ClockConfig(), "mine": base}, [what], CAMERAS)
        assert base_of(found) == "mine"
        varied = {name: entry for name, entry in found.items() if entry.ablates}
        assert varied
        for name, entry in varied.items():
            assert name.startswith("mine-")
            differs = {
                field for field in entry.model.__slots__ if getattr(entry.model, field) != getattr(base, field)
            } | ({"K"} if entry.lookahead else set())
            assert len(differs) == 1
            changed.setdefault(what, set()).update(differs)
    assert changed == {
        "future_state": {"use_future_state"},
        "K": {"K"},
        "views": {"views"},
        "backbone": {"transformer"},
        "pretrained": {"start"},
    }


def test_a_backbone_of_one_layer_is_only_made_larger() -> None:
    found = entries(MODELS, ["backbone"], CAMERAS)
    assert [name for name, entry in found.items() if entry.ablates] == ["mine-2-layers"]


@pytest.mark.parametrize(
    ("model", "what", "cameras", "said"),
    [
        (tiny_config(use_future_state=False), "future_state", CAMERAS, "off already"),
        (tiny_config(use_future_state=False), "K", CAMERAS, "does not denoise"),
        (tiny_config(), "views", CAMERAS[:1], "one camera alone"),
        (tiny_config(), "pretrained", CAMERAS, "starts from no weights"),
        (tiny_config(start="weights"), "backbone", CAMERAS, "have one size"),
    ],
)
def test_what_cannot_be_varied_is_refused_with_the_reason(
    model: Any, what: str, cameras: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        entries({"viva": model}, [what], cameras)


def test_a_name_may_hold_the_settings_of_any_family() -> None:
    config = PRESETS.get("micro")(("shirt_folding",), Models())
    config = replace(config, values={**config.values, "mine": tiny_config()})
    found = named_models(config, "micro", ["mine", "random", "clock"])
    assert list(found) == ["mine", "random", "clock"]
    assert found["mine"] == tiny_config()
    with pytest.raises(UnknownName, match="clok"):
        named_models(config, "micro", ["clok"])


def test_the_command_says_what_was_asked() -> None:
    asked = Comparison.of(
        run="r",
        values="viva, clock",
        ablate="K,views",
        seeds=3,
        demos=None,
        settings=["values.viva.fit.steps=3", "cross_fit=4"],
        name="n",
    )
    words = shlex.split(asked.command(Path("runs")))
    assert words[:3] == ["recap", "compare", "r"]
    for option, value in (
        ("--values", "viva,clock"),
        ("--ablate", "K,views"),
        ("--seeds", "3"),
        ("--name", "n"),
    ):
        assert words[words.index(option) + 1] == value
    assert words.count("--set") == 2
    assert "--tracker" not in words


def test_the_command_names_the_run_that_was_the_latest(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    for place, name in enumerate(("older", "newer")):
        Invocation.of(task="shirt_folding", preset="micro", name=name).save(workspace)
        os.utime(next(workspace.run_dir(name).glob("*.json")), (place, place))
    asked = Comparison.of(run=None, values="clock").resolved(tmp_path)
    assert shlex.split(asked.command(tmp_path))[:3] == ["recap", "compare", "newer"]
    assert Comparison.of(run="older", values="clock").resolved(tmp_path).run == "older"
    recorded = Comparison.of(run=None, values="clock", demos="somewhere")
    assert recorded.resolved(tmp_path / "no-workspace") == recorded
