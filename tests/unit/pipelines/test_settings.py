"""Settings by name: what they are called now, and that none is swallowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import PRESETS, Models, RunConfig
from pipelines.invocation import Invocation
from pipelines.preflight.ahead import check_ahead
from pipelines.settings import set_all
from recap.errors import ConfigError, UnknownName


def _config() -> RunConfig:
    return PRESETS.get("micro")(("shirt_folding",), Models())


@pytest.mark.parametrize(
    ("text", "now"),
    [
        ("task=box_assembly", "--task"),
        ("collect.episodes=4", "demos.episodes"),
        ("collect.renderer=ray", "env.renderer"),
        ("collect.first_seed=4", "nothing: starts are dealt by the graph"),
        ("rollout.attempts=4", "rollouts.attempts"),
        ("rollout.noise_seed=4", "noise_seed"),
        ("ingest.others=skip", "imported.others"),
        ("select.attempts=4", "checkpoint_selection.attempts"),
        ("select.guidance=1,2", "checkpoint_selection.guidance"),
        ("promote.gate.cap=4", "gate.cap"),
        ("health.bounds.enforce=false", "judge.bounds.enforce"),
        ("replay.frames=4", "open_loop_eval.frames"),
        ("value.model.fit.steps=4", "values.NAME.fit.steps"),
        ("value.cross_fit=1", "cross_fit"),
        ("value.draws=4", "value_label.draws"),
        ("value.lookahead=4", "lookahead_s of the task"),
        ("value.controls=none", "--values"),
        ("advantage.returns.c_fail=0.1", "returns.c_fail"),
        ("policy.model.seed=4", "--seed"),
        ("pretrain.model.fit.steps=4", "pretrain.steps"),
        ("evaluate.workers=4", "workers"),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(text: str, now: str) -> None:
    with pytest.raises(UnknownName) as refused:
        set_all(_config(), [text])
    assert refused.value.hint == f"it is {now} now"


def test_a_name_that_never_was_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'iterations'"):
        set_all(_config(), ["iteration=2"])


@pytest.mark.parametrize(
    ("texts", "path"),
    [
        (["imported.others=skip"], "imported.others"),
        (["open_loop_eval.frames=9"], "open_loop_eval.frames"),
        (["iterations=0", "advantage.label.positive_fraction=0.2"], "advantage.label.positive_fraction"),
        (["iterations=0", "rollouts.attempts=9"], "rollouts.attempts"),
        (["gated=false", "gate.cap=9"], "gate.cap"),
        (["cross_fit=1", "value_label.sample=5"], "value_label.sample"),
    ],
)
def test_what_no_step_would_be_given_is_refused(texts: list[str], path: str) -> None:
    with pytest.raises(ConfigError, match="it has no effect in this run") as refused:
        set_all(_config(), texts)
    assert f"--set {path}=" in refused.value.message


def test_what_has_an_effect_is_taken_in_order_and_what_changes_nothing_is_no_mistake() -> None:
    config = _config()
    changed = set_all(config, ["iterations=3", "gate.cap=9", "gate.cap=12", "workers=7"])
    assert (changed.iterations, changed.gate.cap, changed.workers) == (3, 12, 7)
    assert set_all(config, [f"gate.cap={config.gate.cap}"]) == config
    assert set_all(config, []) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gate.cap", "expected name=value"),
        ("gate.cap=none", "expected int, got 'none'"),
        ("gate.cap=0", "gate.cap=0"),
        ("gate=4", "group of settings"),
        ("labels=vive", "it is an option of the run"),
    ],
)
def test_a_value_of_another_kind_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        set_all(_config(), [text])
    assert said in refused.value.message


@pytest.mark.parametrize(("text", "option"), [("tasks=box_assembly", "--task box_assembly"), ("seed=3", "--seed 3")])
def test_what_is_an_option_of_the_run_is_no_setting(text: str, option: str) -> None:
    with pytest.raises(ConfigError, match="it is an option of the run") as refused:
        Invocation.of(preset="micro", settings=[text]).config()
    assert refused.value.hint == option


@pytest.mark.parametrize(
    ("text", "now"),
    [
        ("replay.seed=3", "open_loop_eval.seed"),
        ("value.shard_episodes=4", "value_label.shard_episodes"),
        ("dashboard=false", "executor.dashboard"),
        ("gate=false", "gated"),
        ("pretrain.model.chunk=4", "policy.model.chunk"),
    ],
)
def test_old_names_lead_to_those_of_today(text: str, now: str) -> None:
    with pytest.raises(UnknownName) as refused:
        Invocation.of(preset="micro", settings=[text]).config()
    assert now in refused.value.hint


def test_a_role_that_no_worker_has_is_refused() -> None:
    text = 'executor.role_resources={"trainr": {"num_gpus": 1}}'
    with pytest.raises(ConfigError, match="did you mean 'trainer'"):
        Invocation.of(preset="micro", settings=[text]).config()


def test_a_device_that_is_not_there_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    made = Invocation.of(preset="micro", settings=["runtime.device=cuda:9"]).config()
    with pytest.raises(ConfigError, match=r"runtime\.device = cuda:9"):
        check_ahead(made, tmp_path / "w", print)


def test_the_gates_settings_may_be_given_as_one() -> None:
    text = 'gate={"block": 1, "cap": 2, "min_pairs": 1}'
    assert Invocation.of(preset="micro", settings=[text]).config().gate.cap == 2
