"""Which policy a name means, whether it fits a task, what it is tried on, and what is refused beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.tasks import TASKS
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.policies.evaluate import build_evaluation
from pipelines.policies.export import export_policy
from pipelines.policies.found import FoundPolicy, check_fits, check_statistics, find_policy
from pipelines.policies.observations import observations_for
from pipelines.policies.request import EvaluationRequest
from pipelines.settings import set_all
from policy.models import load_policy
from recap.errors import ArtifactCorrupt, ConfigError, UnknownName
from recap.graph import NodeName

TASK = "shirt_folding"
Bundle = Callable[..., FoundPolicy]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Writes the recap.json and weights of a tiny pi05 for the shirt's robot, with some of it changed."""

    def write(**changes: Any) -> FoundPolicy:
        from dataclasses import replace

        from policy.flow.bundle import write_bundle
        from policy.flow.info import BundleInfo
        from policy.flow.scaling import PolicyStats, Scaling
        from policy.models.pi05.network import Pi05Network
        from policy.models.pi05.sizes import tiny

        robot = TASKS.get(TASK).robot
        state, action = (
            Scaling(q01=np.full(len(names), -4, np.float32), q99=np.full(len(names), 4, np.float32))
            for names in (changes.get(f"{part}_names", robot.state_names) for part in ("state", "action"))
        )
        info = BundleInfo(
            network=replace(tiny(), cameras=len(robot.camera_names), action_dim=14), chunk=8, execute=4, euler_steps=2,
            task=TASKS.get(TASK).spec.prompt, prompt_tokens=64, cameras=robot.camera_names,
            state_names=robot.state_names, action_names=robot.action_names, relative_dims=(),
            stats=PolicyStats(state=state, action=action),
        )  # fmt: skip
        folder = tmp_path / "bundle"
        write_bundle(folder, Pi05Network(info.network), replace(info, **changes))
        return FoundPolicy(path=folder, name="it", invocation=None)

    return write


def test_a_folder_is_itself_and_what_is_no_policy_is_named(tmp_path: Path, bundle: Bundle) -> None:
    made = bundle()
    assert find_policy(tmp_path / "w", str(made.path)).path == made.path
    with pytest.raises(ConfigError, match=r"holds no recap\.json"):
        find_policy(tmp_path / "w", str(tmp_path))
    with pytest.raises(ConfigError, match="is not there"):
        find_policy(tmp_path / "w", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="no workspace"):
        find_policy(tmp_path / "w", "some-run")


def test_a_name_of_a_run_and_of_a_folder(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from recap.workspace import Workspace

    name = f"{TASK}-micro"
    Invocation.of(task=TASK, preset="micro").save(Workspace.open(tmp_path / "w"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="no policy yet"):
        find_policy(tmp_path / "w", name)  # a folder that is no bundle hides no run
    (tmp_path / name).rmdir()
    bundle().path.rename(tmp_path / name)
    with pytest.raises(ConfigError, match="there is a run of that name and a folder"):
        find_policy(tmp_path / "w", name)
    assert find_policy(tmp_path / "w", f"./{name}").path == tmp_path / name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda told: [], "recap.json"),
        (lambda told: {key: value for key, value in told.items() if key != "guidance"}, "guidance"),
        (lambda told: {**told, "network": {**told["network"], "wings": 2}}, "wings"),
        (
            lambda told: {**told, "state_names": told["state_names"][:3]},
            "of 14 numbers of the state, expected 3",
        ),
        (lambda told: {**told, "format": []}, "recap.json"),
        (lambda told: {**told, "family": []}, "expected a name"),
        (lambda told: {**told, "stats": {**told["stats"], "state": {"q01": ["a"], "q99": [1]}}}, "could not convert"),
        (lambda told: {**told, "chunk": "8"}, "expected whole numbers"),
        (lambda told: {**told, "relative_dims": [14]}, r"expected some of 0\.\.13"),
    ],
)
def test_a_bundle_that_says_what_no_training_writes_is_corrupt(
    bundle: Bundle, content: Callable[[Any], Any], said: str
) -> None:
    path = bundle().path
    told = json.loads((path / "recap.json").read_text())
    (path / "recap.json").write_text(json.dumps(content(told)))
    with pytest.raises(ArtifactCorrupt, match=said):
        load_policy(path)


def test_a_run_without_a_champion_says_how_to_get_one(tmp_path: Path) -> None:
    from recap.workspace import Workspace

    Invocation.of(task=TASK, preset="micro").save(Workspace.open(tmp_path / "w"))
    with pytest.raises(ConfigError, match="no policy yet") as refused:
        find_policy(tmp_path / "w", f"{TASK}-micro")
    assert refused.value.hint == f"recap resume {TASK}-micro"
    with pytest.raises(UnknownName, match="did you mean"):
        find_policy(tmp_path / "w", f"{TASK}-micr")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state_names": ("a", "b")}, r"its state is 2 numbers or views \(a, b\)"),
        ({"action_names": ("a",)}, "its action is 1 numbers"),
        ({"cameras": ("cam_high", "cam_belly")}, "it looks through cam_belly"),
        ({"task": "wash up; iron"}, "it was trained on 'wash up' and 'iron'"),
    ],
)
def test_a_policy_of_something_else_is_refused_by_name(bundle: Bundle, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_fits(bundle(**changes), TASKS.simulated(TASK))


def test_a_policy_of_several_tasks_fits_each(bundle: Bundle) -> None:
    prompt = TASKS.get(TASK).spec.prompt
    check_fits(bundle(task=f"wash up; {prompt}"), TASKS.simulated(TASK))
    check_fits(bundle(task=prompt), TASKS.simulated(TASK))


def test_statistics_in_other_units_are_refused(bundle: Bundle) -> None:
    from policy.flow.scaling import PolicyStats, Scaling

    task = TASKS.simulated(TASK)
    check_statistics(bundle(), task, renderer="ray", image_size=64)
    far = Scaling(q01=np.full(14, 100, np.float32), q99=np.full(14, 110, np.float32))
    with pytest.raises(ConfigError, match="its statistics do not fit"):
        check_statistics(bundle(stats=PolicyStats(state=far, action=far)), task, renderer="ray", image_size=64)


def test_without_recordings_observations_are_made_up_and_said_so(tmp_path: Path, bundle: Bundle) -> None:
    from pipelines.policies.found import trained_for

    trained = trained_for(bundle().path)
    assert trained is not None
    seen, told = observations_for(tmp_path / "nowhere", trained)
    assert told.startswith("made-up observations")
    assert {one.prompt for one in seen} == {TASKS.get(TASK).spec.prompt}
    assert all(set(one.frames) == set(trained.cameras) and one.state.shape == (14,) for one in seen)
    assert not (tmp_path / "nowhere").exists()


def test_an_export_never_writes_where_something_is(tmp_path: Path, bundle: Bundle) -> None:
    made = bundle()
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="an export makes a new folder"):
        export_policy(tmp_path / "w", str(made.path), tmp_path / "there", print)
    assert not list((tmp_path / "there").iterdir())


def test_what_a_killed_export_left_is_removed_and_a_live_ones_is_not(tmp_path: Path) -> None:
    import os

    from pipelines.policies.export import _remove_leftovers

    dead, live = tmp_path / ".tmp-out.4194304.ab", tmp_path / f".tmp-out.{os.getpid()}.cd"
    for folder in (dead, live, tmp_path / ".tmp-other.4194304.ab"):
        folder.mkdir()
    _remove_leftovers(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-other.4194304.ab", live.name]


def test_the_evaluation_of_a_run_is_the_runs_own_step(bundle: Bundle) -> None:
    """The same settings and facts as in the run's graph, so that what it evaluated is not played again."""
    invocation = Invocation.of(task=TASK, preset="micro")
    policy = FoundPolicy(path=bundle().path, name="it", invocation=invocation)
    own = {node.name: node for node in build_graph(invocation.config()).order()}[f"1/{TASK}/evaluate"]
    asked = EvaluationRequest.of(policy=None, against=None)
    graph = build_evaluation(asked.config(policy, asked.task_of(policy)), {"policy": policy})
    node = {node.name: node for node in graph.order()}[str(NodeName(0, "evaluate", f"policy/{TASK}"))]
    assert (node.config, node.facts) == (own.config, own.facts)
    more = EvaluationRequest.of(policy=None, against=None, attempts=7, starts="validation").config(policy, TASK)
    assert (more.evaluate.attempts, more.evaluate.split, more.evaluate.films) == (7, "validation", 0)


def test_an_evaluation_asks_for_a_task_and_refuses_what_has_no_effect(bundle: Bundle) -> None:
    policy = bundle()
    asked = EvaluationRequest.of(policy=str(policy.path), against=None)
    with pytest.raises(ConfigError, match="which task"):
        asked.task_of(policy)
    with pytest.raises(ConfigError, match="expected validation or test"):
        EvaluationRequest.of(policy=None, against=None, starts="gate")
    with pytest.raises(ConfigError, match="--attempts 0"):
        EvaluationRequest.of(policy=None, against=None, attempts=0)
    config = asked.config(policy, TASK)
    assert config.evaluate.films == 0
    with pytest.raises(ConfigError, match="it has no effect"):
        set_all(config, ("pretrain.steps=7",), lambda changed: build_evaluation(changed, {"policy": policy}))


def test_the_command_issues_it_again() -> None:
    asked = EvaluationRequest.of(policy="a b", against="c", task=TASK, attempts=3, settings=["noise_seed=1"])
    assert asked.command(Path("w")) == (
        f"recap evaluate 'a b' c --task {TASK} --attempts 3 --set noise_seed=1 --workspace w"
    )
