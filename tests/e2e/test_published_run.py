"""Published weights through the whole command, at tiny sizes in the published layouts: what a GPU does, on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from runs import recap
from safetensors.torch import load_file, save_file
from tests.support.hub import offline, published_at
from tests.support.published import pi05_sizes, published_config, wan_vae
from tests.support.synthetic_lerobot import PROMPT, synthetic_dataset

from policy.models import load_policy
from recap.config import to_json
from value_model.models.viva.config import TransformerSizes
from value_model.models.viva.model import build_transformer

RECORDED = Path(__file__).parents[3] / "shared" / "datasets" / "g1_yellow_can_v30"
CHANNELS, CELL = 4, 16
TRANSFORMER = TransformerSizes(
    layers=1, heads=2, head_dim=12, ffn_dim=48, freq_dim=16, patch=2, text_dim=10, text_tokens=6
)


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_TASKS", "")


def tiny_wan(folder: Path, prompt: str) -> list[str]:
    """Settings of a ViVa on a transformer and an autoencoder that lie in `folder` as diffusers writes them."""
    torch.manual_seed(0)
    build_transformer(TRANSFORMER, CHANNELS).save_pretrained(folder / "transformer")
    save_file({prompt: torch.randn(4, TRANSFORMER.text_dim)}, folder / "prompts.safetensors")
    encoder = {"kind": "wan_vae", "channels": CHANNELS, "patch_pixels": CELL, "folder": str(wan_vae(folder / "vae"))}
    return [
        f"values.viva.transformer={json.dumps(to_json(TRANSFORMER))}",
        f"values.viva.encoder={json.dumps(encoder)}",
        f"values.viva.start={folder / 'transformer'}",
        f"values.viva.prompt_file={folder / 'prompts.safetensors'}",
        "values.viva.image_size=64,64",
        "values.viva.batch_size=4",
        "values.viva.fit.steps=3",
        *(f"judge.bounds.{name}=none" for name in ("min_flaw_auc", "min_skill", "min_value_spread", "min_spearman")),
    ]


def tiny_pi05(folder: Path) -> list[str]:
    """Settings of a pi0.5 that starts from weights in `folder` as openpi and LeRobot publish them."""
    config, _ = published_config("pi05", folder, steps=0)
    return [
        f"policy.model.start={config.start}",
        f"policy.model.tokenizer={config.tokenizer}",
        f"policy.model.network={json.dumps(to_json(pi05_sizes()))}",
        "policy.model.batch_size=4",
        "policy.model.prompt_tokens=600",
        "policy.model.execute=4",
        "policy.model.chunk=8",
        "policy.model.fit.steps=4",
        "pretrain.steps=3",
        "runtime.device=cpu",
    ]


def issue(workspace: Path, task: str, settings: list[str], *more: str, timeout_s: int = 600) -> Any:
    chosen = [part for text in settings for part in ("--set", text)]
    return recap(
        *("run", "--task", task, "--collect", "none", "--demos", str(workspace), "--rollouts", str(workspace)),
        *("--preset", "real-pi05", "--unlabelled", "skip", "--executor", "local", "--tracker", "none"),
        *("--set", "imported.others=skip", *chosen, *more),
        workspace=workspace,
        timeout_s=timeout_s,
    )


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    demos = synthetic_dataset(folder / "demos", size=(64, 64), pictures="image")
    marks = {"success": ["1", "0", "1", "0"]}
    rolls = synthetic_dataset(
        folder / "rolls", lengths=(6, 5, 4, 6), seed=1, size=(64, 64), pictures="image", episode_columns=marks
    )
    for words in ([str(demos)], [str(rolls), "--source", "rollout", "--policy", "p", "--outcome-column", "success"]):
        done = recap("data", "import", *words, "--task", "cubes", "--lossless", workspace=folder / "w")
        assert done.returncode == 0, done.stderr
    return folder / "w"


@pytest.mark.slow
def test_a_dry_run_tells_the_cost_and_what_is_missing(taken_in: Path, tmp_path: Path) -> None:
    before = sorted(path for path in taken_in.rglob("*"))
    done = issue(taken_in, "cubes", [], "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "train 0/pretrain" in done.stdout
    assert "3,353,433,872 parameters" in done.stdout
    assert "on one H100" in done.stdout
    assert "bad   device" in done.stdout
    assert "--set policy.model.start=DIR" in done.stdout
    assert sorted(path for path in taken_in.rglob("*")) == before
    refused = issue(taken_in, "cubes", ["runtime.device=cpu"])
    assert refused.returncode == 2
    assert "published weights" in refused.stderr


@pytest.mark.slow
def test_adapters_go_through_imitation_and_leave_whole_weights(taken_in: Path, tmp_path: Path) -> None:
    def run(*settings: str) -> Any:
        chosen = [
            part
            for text in (*tiny_pi05(tmp_path / "pi05"), "imported.others=skip", *settings)
            for part in ("--set", text)
        ]
        return recap(
            *("run", "--task", "cubes", "--collect", "none", "--demos", str(taken_in), "--iterations", "0"),
            *("--preset", "lora-pi05", "--executor", "local", "--tracker", "none", "--json", *chosen),
            workspace=taken_in,
        )

    done = run("policy.model.lora.rank=2")
    assert done.returncode == 0, done.stderr
    names = load_file(Path(json.loads(done.stdout)["policy"]) / "model.safetensors").keys()
    started = load_file(tmp_path / "pi05" / "model.safetensors").keys()
    assert {name.removeprefix("model.") for name in names if "embed_tokens" not in name} == {
        name for name in started if "lm_head" not in name
    }
    refused = run("policy.model.lora.rank=0", "policy.model.lora.alpha=4")
    assert refused.returncode == 2
    assert "lora.alpha = 4 while lora.rank is 0" in refused.stderr


def through_the_loop(workspace: Path, task: str, settings: list[str]) -> Path:
    """Planned, run to its policy, and issued again; the bundle of the policy."""
    planned = issue(workspace, task, settings, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "bad" not in planned.stdout
    done = issue(workspace, task, settings, "--json")
    assert done.returncode == 0, done.stderr
    policy = Path(json.loads(done.stdout)["policy"])
    assert load_policy(policy).policy_id
    again = json.loads(issue(workspace, task, settings, "--json").stdout)
    assert again["executed"] == []
    return policy


@pytest.mark.slow
def test_weights_in_the_published_layouts_go_through_the_loop(taken_in: Path, tmp_path: Path) -> None:
    settings = [*tiny_pi05(tmp_path / "pi05"), *tiny_wan(tmp_path / "wan", PROMPT)]
    policy = through_the_loop(taken_in, "cubes", settings)
    assert (policy / "tokenizer.json").read_bytes() == (tmp_path / "pi05" / "tokenizer.json").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_weights_named_on_a_hub_go_through_the_loop_without_a_network(
    taken_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch, cache := tmp_path / "hub")
    settings = [*tiny_pi05(tmp_path / "pi05"), *tiny_wan(tmp_path / "wan", PROMPT)]
    for place, name in (
        ("pi05/tokenizer.json", "tiny/pi05"),
        ("pi05", "tiny/pi05"),
        ("wan/transformer", "tiny/wan"),
        ("wan/vae", "tiny/wan"),
    ):
        settings = [text.replace(f"{tmp_path}/{place}", name) for text in settings]
    assert "policy.model.tokenizer=tiny/pi05" in settings
    planned = issue(taken_in, "cubes", settings, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "policy.model.start: tiny/pi05@main/. is not here; the run would fetch it" in planned.stdout
    assert "values.viva.encoder.folder: tiny/wan@main/vae is not here" in planned.stdout
    before = sorted(taken_in.rglob("*"))
    refused = issue(taken_in, "cubes", settings)
    assert refused.returncode == 2
    assert "there is no file or folder tiny/pi05 here, and tiny/pi05@main/. cannot be had" in refused.stderr
    assert "hf download tiny/pi05" in refused.stderr
    assert sorted(taken_in.rglob("*")) == before
    published_at(cache, "tiny/pi05", tmp_path / "pi05")
    published_at(cache, "tiny/wan", tmp_path / "wan")
    named = through_the_loop(taken_in, "cubes", settings)
    # The same bytes by their paths are the same steps.
    by_path = [*tiny_pi05(tmp_path / "pi05"), *tiny_wan(tmp_path / "wan", PROMPT)]
    assert json.loads(issue(taken_in, "cubes", by_path, "--json").stdout)["executed"] == []
    assert (named / "tokenizer.json").read_bytes() == (tmp_path / "pi05" / "tokenizer.json").read_bytes()
    weights = tmp_path / "pi05" / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    published_at(cache, "tiny/pi05", tmp_path / "pi05")
    moved = issue(taken_in, "cubes", settings, "--dry-run").stdout
    assert "content of model.start changed" in moved


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"the recordings are not on this machine ({RECORDED})")
def test_recordings_of_a_real_robot_go_through_it_as_well(tmp_path: Path) -> None:
    workspace, outcomes = tmp_path / "w", tmp_path / "outcomes.csv"
    outcomes.write_text(
        "episode_index,outcome\n" + "".join(f"{e},{'failure' if e % 2 else 'success'}\n" for e in range(6, 10))
    )
    rolls = ("--episodes", "6-9", "--source", "rollout", "--policy", "teleop", "--outcomes", str(outcomes))
    for words in (("--episodes", "0-2"), rolls):
        taken = ("data", "import", str(RECORDED), "--task", "yellow_can", *words, "--image-size", "64")
        done = recap(*taken, workspace=workspace, timeout_s=1500)
        assert done.returncode == 0, done.stderr
    path = workspace / "tasks" / "yellow_can.yaml"
    told = yaml.safe_load(path.read_text())
    path.write_text(path.read_text().replace(f"max_steps: {told['max_steps']}", "max_steps: 450"))
    settings = [*tiny_pi05(tmp_path / "pi05"), *tiny_wan(tmp_path / "wan", told["prompt"])]
    through_the_loop(workspace, "yellow_can", settings)
