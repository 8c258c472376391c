"""Which policies LeRobot's own pi0.5 can run, and the folder that it then reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.policies import CAMERAS, NAMES, TASK
from tests.support.published import tokenizer_file

from policy.conditioning import POSITIVE
from policy.flow.info import BundleInfo
from policy.flow.scaling import PolicyStats, Scaling
from policy.flow.tokenizer import LOCAL, FileTokenizer, whole_prompts
from policy.models.pi05.layout import LEROBOT
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import full, small
from policy.models.pi05.stock import STOCK, layout, why_not

UNIT = Scaling(q01=np.full(14, -1, np.float32), q99=np.full(14, 1, np.float32))


@pytest.fixture
def info(tmp_path: Path) -> BundleInfo:
    return BundleInfo(
        network=replace(full(), cameras=3), task=TASK, chunk=50, execute=25, euler_steps=10, prompt_tokens=200,
        cameras=CAMERAS, state_names=NAMES, action_names=NAMES, relative_dims=(0, 1),
        stats=PolicyStats(state=UNIT, action=UNIT), condition=POSITIVE,
        tokenizer=FileTokenizer(tokenizer_file(tmp_path / "tokens")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"condition": ""}, ""),
        ({"network": small()}, "its sizes are not the published ones"),
        ({"network": replace(full(), condition="embedding")}, "hears its condition by embedding"),
        ({"guidance": 2.0}, "guidance 2"),
        ({"noise_scale": 0.3}, "noise scale 0.3"),
        ({"tokenizer": LOCAL}, "its tokenizer is recap's own"),
    ],
)
def test_what_lerobots_class_cannot_do_is_named(info: BundleInfo, changes: dict[str, Any], said: str) -> None:
    found = why_not(replace(info, **changes))
    assert said in found
    assert bool(said) == bool(found)


def test_its_tokenizer_reads_the_condition_into_every_prompt(info: BundleInfo, tmp_path: Path) -> None:
    files = STOCK.layout(LEROBOT, tmp_path / "place").files(info)
    conditioning = tmp_path / "tokenizer.json"
    conditioning.write_bytes(files["tokenizer/tokenizer.json"])
    for text in (PROMPT.text(TASK, [0, 255, -1]), PROMPT.text("say 'Action: ' twice", [7])):
        wanted = whole_prompts(info.tokenizer, [PROMPT.conditioned(text, POSITIVE)])
        assert whole_prompts(FileTokenizer(conditioning), [text]) == wanted != whole_prompts(info.tokenizer, [text])
    unconditioned = layout(LEROBOT, tmp_path).files(replace(info, condition=""))
    assert unconditioned["tokenizer/tokenizer.json"] == info.tokenizer.content


def test_the_folder_names_nothing_of_recap(info: BundleInfo, tmp_path: Path) -> None:
    files = layout(LEROBOT, tmp_path / "place").files(info)
    config, before = files["config.json"], files["policy_preprocessor.json"]
    assert config["type"] == "pi05"
    assert not {"network", "condition", "guidance", "noise_scale", "prompt_tails"} & set(config)
    steps = {step["registry_name"]: step["config"] for step in before["steps"]}
    assert not [name for name in steps if "recap" in name]
    assert steps["tokenizer_processor"]["tokenizer_name"] == str(tmp_path / "place" / "tokenizer")
    assert not [name for name in files if "recap" in name]
