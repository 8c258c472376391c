"""What needs no training is refused before the first step, by the name of the setting, with a hint that helps."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from data.synthetic_lerobot import synthetic_dataset
from data.tasks import TASKS
from pipelines.config import PRESETS
from pipelines.dataset_import import import_dataset
from pipelines.import_plan import ImportRequest
from pipelines.loop import build_graph
from pipelines.preflight import check_recordings
from recap.config import override as override_one
from recap.errors import ConfigError
from value_model.models import VALUE_MODELS

LONG = "put the red cube into the small box on the left shelf"


def override(config, settings):
    for path, text in settings.items():
        config = override_one(config, path, text)
    return config


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch):
    monkeypatch.setenv("RECAP_TASKS", "")


def _offline(folder: Path, **settings):
    config = replace(PRESETS.get("micro")("cubes"), iterations=1, demos=str(folder), rollouts=str(folder))
    return override(config, {"ingest.others": "skip", **settings})


@pytest.fixture
def take(tmp_path):
    """Imports a made-up dataset into the workspace."""

    def take(name: str, **asked):
        shape = {key: asked.pop(key) for key in ("lengths", "dims", "instructions", "seed") if key in asked}
        root = synthetic_dataset(tmp_path / name, **shape)
        request = ImportRequest(dataset=root, task="cubes", jpeg_quality=None, **asked)
        return import_dataset(tmp_path / "w", request, lambda line: None)

    return take


def _helped(config, hint: str):
    """The configuration with what the hint says to set."""
    words = shlex.split(hint.partition("   (")[0])
    assert words
    assert words[0] == "--set"
    return override(config, dict(word.split("=", 1) for word in words if word != "--set"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"value.model.transformer.text_tokens": "2"}, r"viva: prompt .* words, expected at most 2"),
        ({"policy.model.prompt_tokens": "8"}, r"state values take \d+ tokens, expected at most 8"),
        ({"policy.model.network.action_dim": "3"}, "action_dim = 3 is less than the robot's 14 actions"),
    ],
)
def test_settings_that_no_training_can_use_are_refused_at_once(setting, said):
    config = override(PRESETS.get("micro")("shirt_folding"), setting)
    with pytest.raises(ConfigError, match=said) as refused:
        build_graph(config)
    build_graph(_helped(config, refused.value.hint))


def test_imitation_alone_asks_no_value_model():
    setting = {"value.model.transformer.text_tokens": "2", "iterations": "0"}
    build_graph(override(PRESETS.get("micro")("shirt_folding"), setting))


def test_a_long_prompt_of_recordings_is_refused_before_any_step(take, tmp_path):
    take("d", instructions=[LONG] * 3)
    take("r", instructions=[LONG] * 3, seed=1, source="rollout", policy="p")
    config = _offline(tmp_path / "w")
    with pytest.raises(ConfigError, match="has 12 words, expected at most") as refused:
        build_graph(config)
    build_graph(_helped(config, refused.value.hint))


def test_rollouts_longer_than_any_demonstration_are_refused_before_any_step(take, tmp_path):
    take("d", lengths=(6, 4))
    take("r", lengths=(9, 5, 7), seed=1, source="rollout", policy="p")
    config = _offline(tmp_path / "w")
    build_graph(config)
    with pytest.raises(ConfigError, match="2 of 5 episodes are longer than max_steps 6 of task 'cubes'") as refused:
        check_recordings(config)
    wanted = re.search(r"to (\d+) or more", refused.value.hint)
    assert wanted
    path = tmp_path / "w" / "tasks" / "cubes.yaml"
    path.write_text(path.read_text().replace("max_steps: 6", f"max_steps: {wanted[1]}"))
    assert TASKS.get("cubes").spec.max_steps == 9
    check_recordings(config)


def test_a_control_that_reads_the_simulator_is_refused_for_real_recordings(take, tmp_path):
    take("d")
    take("r", lengths=(5, 4), seed=1, source="rollout", policy="p")
    config = _offline(tmp_path / "w")
    oracle = replace(config, value=replace(config.value, model=VALUE_MODELS.get("oracle").config()))
    with pytest.raises(ConfigError, match="--value-model oracle: 5 of 5 episodes hold no simulator truth"):
        check_recordings(oracle)
    check_recordings(config)


def test_imitation_takes_episodes_of_any_length(take, tmp_path):
    take("d", lengths=(6, 4))
    take("e", lengths=(9,), seed=1)
    check_recordings(replace(PRESETS.get("micro")("cubes"), iterations=0, demos=str(tmp_path / "w")))


def test_a_wording_that_the_policy_cannot_hear_is_refused(take, tmp_path):
    take("d")
    take("r", instructions=["x" * 70] * 3, seed=1, source="rollout", policy="p")
    config = _offline(tmp_path / "w")
    build_graph(config)
    with pytest.raises(ConfigError, match="pi05: the prompt 'xxx") as refused:
        check_recordings(config)
    check_recordings(_helped(config, refused.value.hint))


def test_the_command_refuses_before_its_first_step_and_keeps_nothing_done(take, tmp_path, monkeypatch, capsys):
    import sys

    from cli.main import main

    take("d", lengths=(6, 4))
    take("r", lengths=(9, 5), seed=1, source="rollout", policy="p", outcome_column="")
    where = str(tmp_path / "w")
    words = ["run", "--task", "cubes", "--collect", "none", "--demos", where, "--rollouts", where, "--preset", "micro"]
    words += ["--set", "ingest.others=skip", "--unlabelled", "skip", "--tracker", "none", "--workspace", where]
    monkeypatch.setattr(sys, "argv", ["recap", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "error: 1 of 4 episodes are longer than max_steps 6" in capsys.readouterr().err, "of no step"
    assert [path.name for path in (tmp_path / "w" / "artifacts").glob("[!.]*") if "constant" not in path.name] == []
