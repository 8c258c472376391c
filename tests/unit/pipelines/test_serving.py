"""What is served: which bundle a name means, and what is refused before anything listens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.serving import untrained

from data.tasks import TASKS
from pipelines.invocation import Invocation
from pipelines.policies.found import FoundPolicy, find_policy
from pipelines.serving import load, tasks_served
from policy.flow.bundle import write_bundle
from policy.serving.alone import OneByOne
from recap.errors import ArtifactCorrupt, ConfigError, UnknownName
from recap.training.config import RuntimeConfig
from recap.workspace import Workspace

TASK = "shirt_folding"
CPU = RuntimeConfig()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the shirt's robot and prompt."""
    task, folder = TASKS.get(TASK), tmp_path_factory.mktemp("served") / "bundle"
    actor, robot = untrained(), task.robot
    names = {"state_names": robot.state_names, "action_names": robot.action_names, "cameras": robot.camera_names}
    write_bundle(folder, actor.network, replace(actor.info, task=task.spec.prompt, **names))
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With a run that has chosen nothing yet."""
    opened = Workspace.open(tmp_path / "w")
    Invocation.of(task=TASK, preset="micro", name="early").save(opened)
    return opened.root


def test_a_bundle_with_and_without_its_task(bundle: Path, workspace: Path) -> None:
    found = find_policy(workspace, str(bundle))
    assert (found.path, tasks_served(found, None), found.policy_id) == (bundle, (), "")
    policy, tasks = load(found, (), CPU)
    assert [(one.id, one.rate_hz) for one in tasks] == [(None, None)]
    assert policy.facts.prompts == (tasks[0].prompt,) == (TASKS.get(TASK).spec.prompt,)
    _, (named,) = load(found, tasks_served(found, TASK), CPU)
    assert (named.id, named.rate_hz) == (TASK, TASKS.get(TASK).spec.rate_hz)


def test_a_task_that_is_not_of_the_run(bundle: Path, workspace: Path) -> None:
    run = Invocation.load(workspace, "early")
    with pytest.raises(UnknownName, match="task of run 'early' 'box_assembly'"):
        tasks_served(FoundPolicy(path=bundle, name="it", invocation=run), "box_assembly")


def test_another_policy_than_the_champion_is_not_served(bundle: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match=r"is policy .*, expected 0000"):
        load(FoundPolicy(path=bundle, name="champion of run r", invocation=None, policy_id="0" * 64), (), CPU)


def test_a_task_that_the_policy_does_not_know_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is not one for task box_assembly: it was trained on"):
        tasks_served(FoundPolicy(path=bundle, name="it", invocation=None), "box_assembly")
    actor = untrained()
    write_bundle(tmp_path / "other", actor.network, replace(actor.info, cameras=("front", "side", "top")))
    with pytest.raises(ConfigError, match=r"it is not one for task shirt_folding: .* looks through front, side, top"):
        tasks_served(FoundPolicy(path=tmp_path / "other", name="it", invocation=None), TASK)


def test_a_family_that_says_nothing_of_itself_needs_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Still:
        policy_id, execute = "still", 1

    monkeypatch.setattr("policy.models.load_policy", lambda path, *, runtime: Still())
    (tmp_path / "recap.json").write_text(json.dumps({"family": "still"}))
    found = find_policy(tmp_path, str(tmp_path))
    with pytest.raises(ConfigError, match="does not say what the policy sees; a task does") as caught:
        load(found, (), CPU)
    assert caught.value.hint == f"recap serve {tmp_path} --task NAME"
    policy, _ = load(found, (TASKS.get(TASK),), CPU)
    assert isinstance(policy, OneByOne)
    assert policy.facts.cameras == TASKS.get(TASK).robot.camera_names
