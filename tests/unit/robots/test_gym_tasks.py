"""A gymnasium environment of someone else as a simulated task: recorded, played, corrected, and what it lacks."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gym_reach.task import BARE, TASK

from data.corrections import CorrectionConfig
from data.episodes import EpisodeStore
from data.rollout import record_demo, rollout
from data.sim import backend
from data.sim.flaws import CLEAN, FlawConfig
from data.task_file import RecordedTask
from data.tasks import TASKS, simulated
from data.verify import discard, verify
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from policy.client import LocalClient
from recap.errors import ConfigError, RecapError
from recap.protocols import Capabilities
from recap.types import Outcome, Source

BIASED = FlawConfig(flawed_share=1.0, skipping_weight=0.0, hesitant_weight=0.0, fumbling_weight=0.0)


class Stay:
    """Sends the present state back."""

    policy_id, execute = "stay", 2

    def act(self, observation, *, noise_seed):
        return np.repeat(observation.state[None], 3, axis=0)


STAY = LocalClient(Stay())


@pytest.fixture
def robot():
    made = TASK.make_env("auto", 32)
    yield made
    made.close()


def test_a_demonstration_is_recorded_and_judged_by_the_environment(robot, tmp_path):
    draft, truth = record_demo(TASK, robot, 7, CLEAN)
    assert truth.outcome is Outcome.SUCCESS
    assert (draft.source, draft.renderer, draft.start_seed, draft.robot) == (Source.DEMO, "gym", 7, "gym_reach_dot")
    assert draft.frames["cam_high"].shape == (draft.length, 32, 32, 3)
    assert set(draft.software) == {"gymnasium", "numpy", "recap"}
    assert draft.length > 5, "the environment's own limit of 5 steps is not the task's"
    assert truth.progress[0] == 0.0
    assert (np.diff(truth.progress) > -0.1).all()
    assert [event.name for event in truth.events] == ["success"]
    # Held for two steps, and observation t is what was seen before action t.
    np.testing.assert_allclose(
        draft.state[1] - draft.state[0], 0.05 * (d := draft.action[0] - draft.state[0]) / np.linalg.norm(d), atol=1e-4
    )
    store = EpisodeStore(tmp_path)
    episode_id = store.commit(draft, truth)
    np.testing.assert_array_equal(store.load(episode_id).frames["cam_high"], draft.frames["cam_high"])
    again, _ = record_demo(TASK, robot, 7, CLEAN)
    assert store.commit(again, truth) == episode_id, "the same seed gives the same bits"
    discard(store, episode_id, reason="not wanted")
    assert (store.ids(), store.has_truth(episode_id), list(verify(store))) == ((), False, [])
    assert len(list(store.quarantine.glob("*.reason.json"))) == 2


def test_a_flawed_demonstrator_fails(robot):
    _, truth = record_demo(TASK, robot, 3, BIASED)
    assert truth.outcome is Outcome.FAILURE


def test_a_policy_is_played_to_the_time_limit_and_corrected(robot):
    attempt, draft, truth = rollout(TASK, robot, STAY, 1, noise_seed=0)
    assert (attempt.outcome, attempt.steps, draft.length) == (Outcome.FAILURE, 30, 30)
    assert [event.name for event in truth.events] == ["timeout"]
    patient = CorrectionConfig(patience_steps=4, reaction_steps=1, hand_back_steps=0)
    attempt, draft, truth = rollout(TASK, robot, STAY, 1, noise_seed=0, correction=patient)
    assert draft.source is Source.CORRECTION
    assert attempt.outcome is Outcome.SUCCESS
    assert 0 < attempt.human_steps < attempt.steps
    assert truth.metrics["final_progress"] > 0.9


def test_an_environment_that_ends_the_attempt_has_failed_it_and_one_that_breaks_counts_for_nothing():
    trap = replace(TASK, make_kwargs=lambda size: {"size": size, "trap": True})
    robot = trap.make_env()
    robot.reset(0)
    while not robot.finished:
        robot.step(np.array([-5.0, 0.5], dtype=np.float32))
    truth = robot.truth()
    assert (truth.outcome, truth.events[-1].name, len(truth.progress)) == (Outcome.FAILURE, "terminated", robot.steps)
    with pytest.raises(RecapError, match="this attempt is over"):
        robot.step(np.zeros(2, dtype=np.float32))
    broken = replace(TASK, make_kwargs=lambda size: {"size": size, "broken": True})
    robot = broken.make_env()
    robot.reset(0)
    for _ in range(3):
        robot.step(np.full(2, 0.5, dtype=np.float32))
    assert robot.truth().outcome is Outcome.ABORTED
    assert np.isfinite(robot.truth().progress).all()


@pytest.mark.parametrize(
    ("action", "said"), [([0.5], r"expected shape \(2,\)"), ([0.5, np.nan], "not finite at step 0")]
)
def test_a_bad_action_is_refused(robot, action, said):
    robot.reset(0)
    with pytest.raises(RecapError, match=said):
        robot.step(np.array(action, dtype=np.float32))
    assert robot.steps == 0


def test_without_a_measure_of_progress_the_truth_says_so_and_is_stored(tmp_path):
    robot = BARE.make_env()
    _, draft, truth = rollout(BARE, robot, STAY, 0, noise_seed=0)
    assert np.isnan(truth.progress).all()
    assert truth.metrics == {}
    store = EpisodeStore(tmp_path)
    read = store.truth(store.commit(draft, truth))
    assert np.isnan(read.progress).all()
    assert read.outcome is Outcome.FAILURE
    with pytest.raises(ConfigError, match="partly not finite"):
        store.commit(
            draft, replace(truth, progress=np.where(np.arange(30) < 3, 0.5, truth.progress).astype(np.float32))
        )


def test_what_a_task_lacks_is_refused_before_anything_runs():
    def micro(task):
        return Invocation.of(task=task, preset="micro").config()

    build_graph(micro("gym_reach"))
    with pytest.raises(ConfigError, match="nobody demonstrates it in a simulated world"):
        build_graph(micro("gym_reach_bare"))
    half = replace(TASK, spec=replace(TASK.spec, id="half"), takeover=None)
    TASKS.add("half", half)
    try:
        with pytest.raises(ConfigError, match="no expert takes over in its world, and 1 attempts with") as caught:
            build_graph(micro("half"))
        assert caught.value.hint == "--set rollouts.corrections=0"
        config = micro("half")
        build_graph(replace(config, rollouts=replace(config.rollouts, corrections=0)))
    finally:
        TASKS._items.pop("half")
    robot = BARE.make_env()
    with pytest.raises(ConfigError, match="has no demonstrator"):
        BARE.make_expert(robot, 0, CLEAN)
    with pytest.raises(ConfigError, match="no expert that takes over"):
        BARE.make_takeover(robot, 0)
    assert not replace(TASK, read_progress=None).capabilities.takeover, "a supervisor has to see progress"
    with pytest.raises(RecapError, match="cannot act on a GymEnv"):
        TASK.make_expert(robot, 0, CLEAN)
    with pytest.raises(ConfigError, match="'gym_reach_bare': no expert takes over in its environment"):
        rollout(BARE, robot, STAY, 0, noise_seed=0, correction=CorrectionConfig())


def test_what_is_described_wrongly_is_refused():
    with pytest.raises(ConfigError, match="needs the package 'gym_nothing'") as caught:
        replace(TASK, module="gym_nothing").make_env()
    assert caught.value.hint == "make env-reach"
    with pytest.raises(ConfigError, match="draws its own pictures: renderer 'egl', expected 'auto'"):
        TASK.choose_renderer("egl")
    three = replace(TASK, robot_spec=lambda size: replace(TASK.robot, action_names=("x", "y", "z")))
    with pytest.raises(ConfigError, match="expected a Box of 3 numbers"):
        three.make_env()
    small = replace(TASK, make_kwargs=lambda size: {"size": 8}).make_env()
    small.reset(0)
    with pytest.raises(RecapError, match=r"camera 'cam_high' gave uint8 \(8, 8, 3\), expected uint8 \(64, 64, 3\)"):
        small.observe()
    with pytest.raises(RecapError, match="no start state"):
        TASK.make_env().observe()


def test_the_built_in_tasks_are_drawn_by_the_simulator():
    shirt = TASKS.simulated("shirt_folding")
    assert shirt.choose_renderer("ray") == "ray"
    assert (
        shirt.capabilities
        == TASK.capabilities
        == Capabilities(simulated_time=True, expert=True, takeover=True, progress=True)
    )


def test_a_task_of_a_real_robot_has_no_world():
    real = RecordedTask(spec=replace(TASK.spec, id="desk"), robot=TASK.robot)
    with pytest.raises(ConfigError, match="task 'desk' has no simulator") as caught:
        simulated(real)
    assert "recap data record --task desk" in caught.value.hint
    assert simulated(TASK) is TASK


def test_a_task_may_say_the_range_of_its_actions_and_what_goes_around_its_environment(monkeypatch):
    seen = []
    wide = replace(
        TASK,
        action_range=((-2.0, -2.0), (2.0, 2.0)),
        wrap=lambda env, size: seen.append(size) or env,
    )
    robot = wide.make_env(image_size=48)
    assert seen == [48]
    assert (robot._low.tolist(), robot._high.tolist()) == ([-2.0, -2.0], [2.0, 2.0])
    monkeypatch.setattr(backend, "gl_backend", lambda: None)
    with pytest.raises(ConfigError, match="task 'gym_reach' draws with OpenGL, which does not work"):
        replace(TASK, draws_with_mujoco=True).make_env()


def test_the_bench_refuses_the_older_mujoco_of_an_environment(monkeypatch):
    monkeypatch.setattr(backend, "version", lambda name: "3.3.0")
    with pytest.raises(ConfigError, match=r"need MuJoCo 3.5 or newer, and this is 3.3.0") as caught:
        TASKS.simulated("shirt_folding").choose_renderer("auto")
    assert ".venv/bin/recap" in caught.value.hint


class Swing(gymnasium.Env):
    """A ball in MuJoCo; the action is its speed."""

    def __init__(self):
        mujoco = backend.load_mujoco()
        xml = """<mujoco><worldbody><light pos='0 0 2'/><camera name='above' pos='0 0 2'/>
            <body><joint type='slide' axis='1 0 0'/><geom size='.3' rgba='1 0 0 1'/></body></worldbody></mujoco>"""
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.started = []

    def reset(self, *, seed=None, options=None):
        self.started.append(seed)
        backend.load_mujoco().mj_resetData(self.model, self.data)
        return 0, {}

    def step(self, action):
        if action == "raise":
            raise ZeroDivisionError
        self.data.qvel[0] = action
        backend.load_mujoco().mj_step(self.model, self.data, 50)
        return 1, 0.5, False, False, {}


def test_plain_pictures_seed_draw_and_tell_broken_physics():
    from data.robots.gym_mujoco import PlainPictures

    seeded = []
    env = PlainPictures(
        Swing(),
        24,
        model=lambda own: own.model,
        data=lambda own: own.data,
        seed=lambda own, seed: seeded.append(seed),
        breaks=(ZeroDivisionError,),
    )
    env.reset(seed=2**62 + 3)
    assert (seeded, env.unwrapped.started) == ([2**62 + 3], [3])
    if backend.gl_backend() is not None:
        first = env.draw("above")
        assert (first.shape, first.dtype) == ((24, 24, 3), np.uint8)
        env.step(5.0)
        assert (env.draw("above") != first).any()
    assert env.step(1.0)[1] == 0.5
    observation, reward, terminated, *_ = env.step("raise")
    assert (observation, terminated) == (1, True)
    assert np.isnan(reward)
    env.reset(seed=0)
    assert np.isnan(env.step(float("nan"))[1])
    env.reset(seed=0)
    assert env.step(1.0)[1] == 0.5
    env.close()
