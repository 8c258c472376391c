"""What needs no training is refused before the first step, by the name of the setting, with a hint that helps."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.published_vlm import published_vlm
from tests.support.synthetic import synthetic_draft, synthetic_truth
from tests.support.synthetic_lerobot import synthetic_dataset

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from data.tasks import TASKS
from pipelines.config import PRESETS, Models
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from pipelines.graph import build_graph
from pipelines.preflight.ahead import check_ahead
from recap.config import to_json
from recap.errors import ConfigError
from recap.overrides import override as override_one
from recap.types import Annotation, Outcome, Source

NOTHING: dict[str, str] = {}
LONG = "put the red cube into the small box on the left shelf"


def _micro(*tasks, **models):
    return PRESETS.get("micro")(tasks, Models(**models))


def override(config, settings):
    for path, text in settings.items():
        config = override_one(config, path, text)
    return config


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch):
    monkeypatch.setenv("RECAP_TASKS", "")


def _offline(folder: Path, models=NOTHING, **settings):
    config = replace(_micro("cubes", **models), iterations=1, demos_from=str(folder), rollouts_from=str(folder))
    return override(config, {"imported.others": "skip", **settings})


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


SIMULATED = [
    ({"values.viva.transformer.text_tokens": "2"}, r"viva: prompt .* words, expected at most 2"),
    ({"values.viva.encoder.channels": "200"}, "channels = 200 exceeds the 192 numbers of a patch"),
    ({"values.viva.views": "cam_high,cam_low"}, "views .'cam_low'. are not among the cameras"),
    ({"cross_fit": "7"}, "6 episodes in 7 folds"),
    ({"policy.model.prompt_tokens": "8"}, r"state values take \d+ tokens, expected at most 8"),
    ({"policy.model.network.action_dim": "3"}, "action_dim = 3 is less than the robot's 14 actions"),
    ({"policy.model.network.cameras": "2"}, "network.cameras = 2, the robot has 3"),
    ({"policy.model.network.vocab_size": "300"}, "network.vocab_size = 300, prompts have"),
    (
        {"checkpoint_selection.guidance": "1,2", "checkpoint_selection.attempts": "0"},
        "guidance 2 to try with 0 attempts",
    ),
]


@pytest.mark.parametrize(("setting", "said"), SIMULATED)
def test_settings_that_no_training_can_use_are_refused_at_once(setting, said):
    config = override(_micro("shirt_folding"), setting)
    with pytest.raises(ConfigError, match=said) as refused:
        build_graph(config)
    build_graph(_helped(config, refused.value.hint))


STARTS = r"rollouts\.attempts: start seeds \d+\.\.\d+ leave the"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"rollouts.attempts": "1000000", "iterations": "10"}, STARTS),
        ({"gate.cap": "100000", "iterations": "101"}, r"gate\.cap: start seeds \d+\.\.\d+ leave the"),
    ],
)
def test_starts_beyond_their_range_are_refused_at_once(setting, said):
    config = override(_micro("shirt_folding"), setting)
    with pytest.raises(ConfigError, match=said) as refused:
        build_graph(config)
    name = re.search(r"a lower (\w+\.\w+), or fewer iterations", refused.value.hint)
    assert name
    build_graph(override(config, {name[1]: "1000"}))
    build_graph(override(config, {"iterations": "2"}))


def test_every_base_fits_the_policy_that_starts_from_it():
    """The network of the starting weights is the policy's own, whatever is set."""
    config = override(_micro("shirt_folding"), {"policy.model.network.depth": "3", "policy.model.chunk": "9"})
    nodes = {node.name: node for node in build_graph(config).order()}
    base, model = (nodes[f"0/{name}"].config.model for name in ("pretrain", "policy"))
    assert replace(base, fit=model.fit, candidates=model.candidates) == model


def test_several_tasks_are_asked_for_each():
    both = _micro("shirt_folding", "toilet_paper_organization")
    with pytest.raises(ConfigError, match="prompt 'organize the toilet paper rolls' has 5 words"):
        build_graph(override(both, {"values.viva.transformer.text_tokens": "4"}))
    assert build_graph(override(both, {"cross_fit": "12"}))
    with pytest.raises(ConfigError, match="12 episodes in 13 folds"):
        build_graph(override(both, {"cross_fit": "13"}))


def test_a_share_that_a_plug_in_got_wrong_is_refused_at_once(monkeypatch):
    pusht = TASKS.get("gym_pusht")
    odd = replace(pusht, spec=replace(pusht.spec, positive_fraction=1.0))
    monkeypatch.setitem(TASKS._items, "gym_pusht", odd)
    config = _micro("gym_pusht")
    with pytest.raises(ConfigError, match=r"positive fraction 1\.0") as refused:
        build_graph(config)
    build_graph(_helped(config, refused.value.hint))


@pytest.mark.parametrize("name", ["prompt_file", "start"])
def test_a_file_that_is_not_there_is_refused_at_once(name, tmp_path):
    config = override(_micro("shirt_folding"), {f"values.viva.{name}": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match=f"viva: {name} .*none does not exist") as refused:
        build_graph(config)
    assert refused.value.hint == f"--set values.viva.{name}=PATH"


@pytest.mark.parametrize(
    ("embedded", "said"),
    [
        ({"fold it": np.zeros((3, 8), np.float32)}, r"no embedding of 'fold the shirt', only of \['fold it'\]"),
        ({"fold the shirt": np.zeros((9, 8), np.float32)}, r"has shape \(9, 8\), expected \(<= 8, 8\)"),
        ({"fold the shirt": np.zeros((3, 4), np.float32)}, r"has shape \(3, 4\)"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused_at_once(embedded, said, tmp_path):
    file = tmp_path / "prompts.safetensors"
    config = override(_micro("shirt_folding"), {"values.viva.prompt_file": str(file)})
    save_file({"fold the shirt": np.zeros((8, 8), np.float32)}, file)
    build_graph(config)
    save_file(embedded, file)
    with pytest.raises(ConfigError, match=said):
        build_graph(config)


def test_an_autoencoder_of_another_size_is_refused_at_once(tmp_path):
    config = override(_micro("shirt_folding"), {"values.viva.shift_pixels": "0"})
    wan = json.dumps({"kind": "wan_vae", "folder": str(tmp_path), "channels": 4, "patch_pixels": 16})
    config = override(config, {"values.viva.encoder": wan})
    with pytest.raises(ConfigError, match="no AutoencoderKLWan there"):
        build_graph(config)
    (tmp_path / "config.json").write_text(json.dumps({"z_dim": 48, "scale_factor_spatial": 8}))
    for said in ("the encoder has 48 channels, encoder.channels is 4", "latent cells of 8 pixels"):
        with pytest.raises(ConfigError, match=said) as refused:
            build_graph(config)
        config = _helped(config, refused.value.hint)
    build_graph(config)


WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_starting_weights_of_another_network_are_refused_before_the_first_step(tmp_path):
    save_file({"patch_embedding.weight": np.zeros((2, 2), np.float32)}, tmp_path / WEIGHTS)
    config = override(_micro("shirt_folding"), {"values.viva.start": str(tmp_path)})
    build_graph(config)
    with pytest.raises(ConfigError, match=r"does not hold the weights of viva at these sizes: \d+ tensors, missing"):
        check_ahead(config, tmp_path / "w", print)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ConfigError, match="holds no weights"):
        check_ahead(config, tmp_path / "w", print)


def test_a_vlm_on_published_weights_is_checked_before_the_first_step(tmp_path):
    vlm = published_vlm(tmp_path / "published")
    chosen = {name: json.dumps(to_json(getattr(vlm, name))) for name in ("vision", "language")}
    files = {name: getattr(vlm, name) for name in ("vision_start", "text_start", "tokenizer")}
    settings = {f"values.vlm.{name}": value for name, value in {**files, **chosen, "image_size": "32"}.items()}
    config = override(_micro("shirt_folding", value="vlm"), settings)
    build_graph(config)
    check_ahead(config, tmp_path / "w", print)
    swapped = override(config, {"values.vlm.vision_start": vlm.text_start})
    with pytest.raises(ConfigError, match=r"does not hold the weights of vlm \(vision_start\)"):
        check_ahead(swapped, tmp_path / "w", print)


def test_demonstrations_and_rollouts_are_drawn_alike(tmp_path, monkeypatch):
    """There is one setting, and what a workspace began with counts beside it."""
    asked = []

    def works(renderer):
        asked.append(renderer)
        if renderer == "egl":
            raise ConfigError("no GPU")
        return {"auto": "ray"}.get(renderer, renderer)

    monkeypatch.setattr("data.sim.bimanual_task.choose_renderer", works)
    config = _micro("shirt_folding")
    check_ahead(config, tmp_path / "w", print)
    assert asked == ["auto"]
    (tmp_path / "w" / "renderers").mkdir(parents=True)
    (tmp_path / "w" / "renderers" / TASKS.get("shirt_folding").robot.id).write_text("egl")
    with pytest.raises(ConfigError, match="drawn by 'egl', which does not work here") as refused:
        check_ahead(config, tmp_path / "w", print)
    assert "--set env.renderer=ray" in refused.value.hint
    check_ahead(override(config, {"env.renderer": "ray"}), tmp_path / "w", print)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"executor.name": "local"}, "runtime.processes = 2 with --executor local"),
        ({"runtime.device": "cuda:1"}, "runtime.device = cuda:1 is one device, and runtime.processes = 2 need as many"),
        ({"policy.model.batch_size": "1"}, "policy.model.batch_size = 1 is less than runtime.processes = 2"),
        ({"values.viva.batch_size": "1"}, "values.viva.batch_size = 1 is less than runtime.processes = 2"),
        ({"runtime.device": "cuda"}, r"torch .* sees [01]"),
    ],
)
def test_what_several_processes_lack_is_refused_before_the_first_step(tmp_path, settings, message):
    given = {"executor.name": "ray", "runtime.processes": "2"}
    config = _micro("shirt_folding")
    check_ahead(override(config, given), tmp_path / "w", print)
    with pytest.raises(ConfigError, match=message):
        check_ahead(override(config, given | settings), tmp_path / "w", print)


def test_a_compiler_that_is_not_there_is_missed_before_the_first_step(tmp_path, monkeypatch):
    given = {"executor.name": "ray", "runtime.compile": "true", "runtime.processes": "2"}
    config = override(_micro("shirt_folding"), given)
    monkeypatch.setattr("shutil.which", lambda name: "/opt/g++" if name == "g++" else None)
    check_ahead(config, tmp_path / "w", print)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="neither is here"):
        check_ahead(config, tmp_path / "w", print)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("pipelines.preflight.ahead.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="with triton, which is not installed"):
        check_ahead(override(config, {"runtime.device": "cuda"}), tmp_path / "w", print)
    check_ahead(override(config, {"executor.address": "ray://127.0.0.1:1"}), tmp_path / "w", print)


def test_more_processes_than_cards_are_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    given = {"executor.name": "ray", "runtime.device": "cuda", "runtime.processes": "2"}
    with pytest.raises(ConfigError, match=r"runtime.processes = 2, each on its own device: torch sees 1 of cuda"):
        check_ahead(override(_micro("shirt_folding"), given), tmp_path / "w", print)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    check_ahead(override(_micro("shirt_folding"), given), tmp_path / "w", print)
    sixteen = {"runtime.processes": "16", "policy.model.batch_size": "16", "values.viva.batch_size": "16"}
    elsewhere = {"executor.address": "ray://127.0.0.1:1"}
    check_ahead(override(_micro("shirt_folding"), given | sixteen | elsewhere), tmp_path / "w", print)


def test_a_renderer_that_is_not_here_is_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("data.sim.backend.works", lambda backend: False)
    monkeypatch.setattr("data.sim.backend.gl_backend", lambda: None)
    config = override(_micro("shirt_folding"), {"env.renderer": "osmesa"})
    with pytest.raises(ConfigError, match="renderer 'osmesa' does not work on this machine"):
        check_ahead(config, tmp_path / "w", print)
    assert not (tmp_path / "w").exists()


def test_a_world_whose_package_is_missing_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(ConfigError, match="needs the package 'gym_aloha'") as refused:
        check_ahead(_micro("gym_aloha"), tmp_path / "w", print)
    assert "make env-aloha" in refused.value.hint


def test_a_world_without_progress_has_no_oracle(tmp_path, monkeypatch):
    blind = replace(TASKS.get("gym_pusht"), read_progress=None, takeover=None)
    monkeypatch.setattr(type(blind), "require_package", lambda self: None)
    monkeypatch.setitem(TASKS._items, "gym_pusht", blind)
    config = override(_micro("gym_pusht"), {"rollouts.corrections": "0"})
    check_ahead(config, tmp_path / "w", print)
    oracle = override(_micro("gym_pusht", value="oracle"), {"rollouts.corrections": "0"})
    with pytest.raises(ConfigError, match="--value oracle: the world of task 'gym_pusht' has no measure"):
        check_ahead(oracle, tmp_path / "w", print)


def test_imitation_alone_asks_no_value_model():
    setting = {"values.viva.transformer.text_tokens": "2", "iterations": "0"}
    build_graph(override(_micro("shirt_folding"), setting))


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
    path = tmp_path / "w" / "tasks" / "cubes.yaml"
    with pytest.raises(ConfigError, match="2 of 5 episodes are longer than max_steps 6") as refused:
        check_ahead(config, tmp_path / "w", print)
    wanted = re.search(rf"set max_steps in {path} to (\d+) or more", refused.value.hint)
    assert wanted
    check_ahead(override(config, {"returns.kind": "viva"}), tmp_path / "w", print)
    path.write_text(path.read_text().replace("max_steps: 6", f"max_steps: {wanted[1]}"))
    assert TASKS.get("cubes").spec.max_steps == 9
    check_ahead(config, tmp_path / "w", print)


def test_a_control_that_reads_the_simulator_is_refused_for_real_recordings(take, tmp_path):
    take("d")
    take("r", lengths=(5, 4), seed=1, source="rollout", policy="p")
    config = _offline(tmp_path / "w")
    oracle = _offline(tmp_path / "w", models={"value": "oracle"})
    with pytest.raises(ConfigError, match="--value oracle: 5 of 5 episodes hold no simulator truth"):
        check_ahead(oracle, tmp_path / "w", print)
    check_ahead(config, tmp_path / "w", print)


def test_imitation_takes_episodes_of_any_length(take, tmp_path):
    take("d", lengths=(6, 4))
    take("e", lengths=(9,), seed=1)
    check_ahead(replace(_micro("cubes"), iterations=0, demos_from=str(tmp_path / "w")), tmp_path / "w", print)


def test_a_wording_that_the_policy_cannot_hear_is_refused(take, tmp_path):
    take("d")
    take("r", instructions=["x" * 70] * 3, seed=1, source="rollout", policy="p")
    config = _offline(tmp_path / "w")
    build_graph(config)
    with pytest.raises(ConfigError, match="pi05: the prompt 'xxx") as refused:
        check_ahead(config, tmp_path / "w", print)
    check_ahead(_helped(config, refused.value.hint), tmp_path / "w", print)


# Recorded episodes of a built-in task


class Recorded:
    """Two folders, and a run of three demonstrations and four rollouts that nothing is wrong with."""

    def __init__(self, root: Path) -> None:
        self.root, self.workspace = root, root / "w"
        self.demos, self.rollouts = EpisodeStore(root / "demos"), EpisodeStore(root / "rollouts")
        self.add(self.demos, range(3), Source.DEMO)
        self.ids = self.add(self.rollouts, range(10, 14), Source.ROLLOUT)

    def add(self, store, seeds, source, *, truth=True, human=False, outcome=Outcome.SUCCESS, **shape):
        ids = []
        for seed in seeds:
            draft = synthetic_draft(seed, source=source, **{"length": 4, **shape})
            if human:
                draft = replace(draft, intervened=np.ones(draft.length, np.bool_))
            ids.append(store.commit(draft, synthetic_truth(draft, outcome) if truth else None))
        return ids

    def say(self, ids, outcome):
        said = [Annotation(episode_id=episode, outcome=outcome) for episode in ids]
        LabelBook(self.workspace / "labels").record_all(said, by="ada")

    def drop(self, ids):
        for episode in ids:
            self.rollouts.path(episode).unlink()

    def check(self, **settings):
        config = replace(
            _micro("shirt_folding"), demos_from=str(self.demos.root), rollouts_from=str(self.rollouts.root)
        )
        before = {path: path.stat().st_mtime_ns for path in self.root.rglob("*")}
        try:
            check_ahead(override(config, settings), self.workspace, print)
        finally:
            assert {path: path.stat().st_mtime_ns for path in self.root.rglob("*")} == before, "nothing is written"


@pytest.fixture
def recorded(tmp_path):
    found = Recorded(tmp_path)
    found.check()
    return found


def test_pictures_of_several_backends_are_refused_before_any_step(recorded):
    recorded.add(recorded.rollouts, range(20, 21), Source.ROLLOUT, renderer="egl")
    with pytest.raises(ConfigError, match=r"one view cannot mix renderer: .(ray|egl)"):
        recorded.check()


def test_cameras_that_nobody_asked_for_may_differ(recorded):
    more = ("cam_high", "cam_left_wrist", "cam_right_wrist", "cam_low")
    recorded.add(recorded.rollouts, range(20, 21), Source.ROLLOUT, cameras=more)
    recorded.check()


def test_headers_are_looked_at_before_any_step(recorded):
    recorded.add(recorded.rollouts, range(20, 21), Source.ROLLOUT, action_dim=6)
    with pytest.raises(ConfigError, match="action 6 numbers, expected 14 numbers"):
        recorded.check()


def test_more_pictures_than_the_cache_may_hold_are_refused_before_any_step(recorded, monkeypatch):
    import data.framecache

    monkeypatch.setattr(data.framecache.check_pack, "__kwdefaults__", {"max_bytes": 2**19})
    with pytest.raises(ConfigError, match=r"7 episodes needs 0.00 GiB, the cap is 0.00 GiB"):
        recorded.check()


def test_rollouts_that_nobody_judged_are_refused_where_they_are_left_out(recorded):
    recorded.drop(recorded.ids)
    recorded.add(recorded.rollouts, range(20, 22), Source.ROLLOUT, truth=False)
    recorded.check()  # it would wait for the answers
    skip = {"annotate.unlabelled": "skip"}
    with pytest.raises(ConfigError, match="no labelled episode with a step in which a policy acted alone") as refused:
        recorded.check(**skip)
    assert "recap annotate --all" in refused.value.hint
    recorded.say(recorded.rollouts.ids()[:1], Outcome.SUCCESS)
    recorded.check(**skip)
    recorded.check(**skip, **{"annotate.detector": "false", "cross_fit": "1"})
    with pytest.raises(ConfigError, match="1 episodes in 2 folds"):
        recorded.check(**skip, **{"annotate.detector": "false"})


def test_no_label_at_all_is_refused_where_episodes_without_are_left_out(recorded):
    with pytest.raises(ConfigError, match="no episode has a label of success or failure"):
        recorded.check(**{"annotate.unlabelled": "skip", "annotate.detector": "false"})


def test_corrections_by_a_person_alone_set_no_threshold(recorded):
    recorded.drop(recorded.ids)
    recorded.add(recorded.rollouts, range(20, 22), Source.CORRECTION, human=True)
    with pytest.raises(ConfigError, match="a step in which a policy acted alone"):
        recorded.check()
    recorded.add(recorded.rollouts, range(22, 23), Source.CORRECTION)
    recorded.check()


def test_folders_of_aborted_attempts_are_refused_before_any_step(recorded):
    recorded.say(recorded.ids, Outcome.ABORTED)
    with pytest.raises(ConfigError, match="all 4 attempts at shirt_folding were aborted"):
        recorded.check()


def test_episodes_that_are_not_learned_from_may_be_as_long_as_they_like(recorded):
    limit = TASKS.get("shirt_folding").spec.max_steps
    long = recorded.add(recorded.rollouts, range(20, 21), Source.ROLLOUT, truth=False, length=limit + 1)
    with pytest.raises(ConfigError, match=f"1 of 8 episodes are longer than max_steps {limit}"):
        recorded.check()
    recorded.check(**{"annotate.unlabelled": "skip"})
    recorded.say(long, Outcome.ABORTED)
    recorded.check()


def test_the_oracle_needs_the_truth_of_what_it_learns_from(recorded):
    blind = recorded.add(recorded.rollouts, range(20, 21), Source.ROLLOUT, truth=False)
    recorded.say(blind, Outcome.SUCCESS)
    folders = {"demos_from": str(recorded.demos.root), "rollouts_from": str(recorded.rollouts.root)}
    config = replace(_micro("shirt_folding", beside=("oracle",)), **folders)
    with pytest.raises(ConfigError, match="1 of 8 episodes hold no simulator truth"):
        check_ahead(config, recorded.workspace, print)
    recorded.say(blind, Outcome.ABORTED)
    check_ahead(config, recorded.workspace, print)


def test_a_mark_past_the_end_of_its_episode_is_refused_before_any_step(recorded):
    from recap.types import KeyFrame

    said = Annotation(
        episode_id=recorded.ids[0], outcome=Outcome.SUCCESS, key_frames=(KeyFrame(t=4, kind=1, text="late"),)
    )
    LabelBook(recorded.workspace / "labels").record(said, by="ada")
    with pytest.raises(ConfigError, match="key frame at step 4, the episode has steps 0"):
        recorded.check()


# The command


def _recap(monkeypatch, *words):
    from cli.main import main

    monkeypatch.setattr(sys, "argv", ["recap", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize(
    ("setting", "said"),
    [*SIMULATED, ({"demos.episodes": "1000000", "rollouts.attempts": "1000000", "iterations": "10"}, STARTS)],
)
def test_the_command_refuses_settings_and_writes_nothing(setting, said, tmp_path, monkeypatch, capsys):
    words = [word for name, value in setting.items() for word in ("--set", f"{name}={value}")]
    assert _recap(monkeypatch, "run", "--preset", "micro", *words, "--workspace", str(tmp_path / "w")) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "w").exists()


def test_the_command_refuses_recordings_and_writes_nothing_not_even_the_task_file(take, tmp_path, monkeypatch, capsys):
    take("d", lengths=(6, 4))
    take("r", lengths=(9, 5), seed=1, source="rollout", policy="p")
    monkeypatch.setenv("RECAP_TASKS", "")
    there, file = str(tmp_path / "w"), tmp_path / "cubes.yaml"
    (tmp_path / "w" / "tasks" / "cubes.yaml").rename(file)
    words = ["run", "--task", "cubes", "--collect", "none", "--demos", there, "--rollouts", there, "--preset", "micro"]
    words += ["--task-file", str(file), "--set", "imported.others=skip", "--tracker", "none"]
    words += ["--workspace", str(tmp_path / "new")]
    assert _recap(monkeypatch, *words) == 2
    told = capsys.readouterr().err
    assert "error: 1 of 4 episodes are longer than max_steps 6" in told, "of no step"
    assert f"set max_steps in {file} to 9 or more" in told
    assert not (tmp_path / "new").exists()
    file.write_text(file.read_text().replace("max_steps: 6", "max_steps: 9"))
    assert _recap(monkeypatch, *words) == 3, "waiting for labels"
    assert (tmp_path / "new" / "tasks" / "cubes.yaml").read_bytes() == file.read_bytes()
