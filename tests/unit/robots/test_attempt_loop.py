"""The one control loop over an environment of three lines: who acts, what is kept, what ends it."""

import numpy as np
import pytest

from data.attempt import ChunkPlayer, Recorder, attempt
from data.tasks import TASKS
from policy.client import LocalClient
from recap.errors import ActionRefused
from recap.protocols import Capabilities, Sent
from recap.specs import RobotSpec
from recap.types import Observation, Source

SPEC = TASKS.get("shirt_folding").spec


class Counter:
    """Its state is the number of steps so far; sends half of what it is asked; `looked` at which steps it was drawn."""

    spec = RobotSpec(
        id="counter", state_names=("n",), action_names=("n",), action_units=("1",), gripper_dims=(), cameras=()
    )
    renderer, software, finished = None, {"numpy": "2"}, False

    def __init__(self, *, refuse_at=-1, stale_at=-1, simulated=True):
        self.capabilities = Capabilities(simulated_time=simulated)
        self.refuse_at, self.stale_at, self.looked = refuse_at, stale_at, []

    def reset(self, seed):
        self.n = 0

    def observe(self, *, draw=True):
        if draw:
            self.looked.append(self.n)
        frames = {"eye": np.full((2, 2, 3), self.n, dtype=np.uint8)} if draw else {}
        return Observation(state=np.array([self.n], dtype=np.float32), frames=frames, prompt="count")

    def step(self, action):
        if self.n == self.refuse_at:
            raise ActionRefused("too far")
        self.n += 1
        return Sent(action=action / 2, asked=action, stale="no answer" * (self.n - 1 == self.stale_at))


class Person:
    name, human, looks = "the teleoperator", True, False

    def act(self, observation, step):
        return observation.state + 100


class Policy:
    policy_id, execute = "counting", 3

    def act(self, observation, *, noise_seed):
        return observation.state + np.arange(4, dtype=np.float32)[:, None] + 10


def player(number=0):
    return ChunkPlayer(LocalClient(Policy()), SPEC, channels=1, noise_seed=0, number=number)


def test_observation_t_is_kept_with_action_t_and_with_who_gave_it():
    env, recorder, policy, heard = Counter(stale_at=2), Recorder(), player(), []
    attempt(env, [policy, policy, Person(), policy, policy], recorder, 7, say=heard.append)
    draft = recorder.draft(SPEC, env, 7, policy_id="counting")
    assert draft.state[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert draft.frames["eye"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    # The third action of the first chunk outlives the person's step; then the policy looks again.
    assert draft.asked[:, 0].tolist() == [10, 11, 102, 12, 14]
    assert (draft.action * 2).tolist() == draft.asked.tolist()
    assert draft.intervened.tolist() == [False, False, True, False, False]
    assert draft.stale.tolist() == [False, False, True, False, False]
    assert heard == ["step 2 went on with an earlier reading: no answer"]
    assert (draft.source, draft.start_seed, recorder.human_steps) == (Source.CORRECTION, 7, 1)


def test_the_source_and_the_seed_follow_from_who_acted_and_where():
    for actors, policy_id, source in (
        ([Person()], None, Source.DEMO),
        ([player()], "counting", Source.ROLLOUT),
        ([player(), Person()], "counting", Source.CORRECTION),
    ):
        env, recorder = Counter(simulated=False), Recorder()
        attempt(env, actors, recorder, 3)
        draft = recorder.draft(SPEC, env, 3, policy_id=policy_id)
        assert (draft.source, draft.start_seed) == (source, None), "a real scene has no seed"


def test_without_film_pictures_are_drawn_only_when_the_policy_looks():
    env, recorder = Counter(), Recorder(films=False)
    attempt(env, [player()], recorder, 0)
    assert env.looked == [0]
    policy = player()
    env, recorder = Counter(), Recorder(films=False)
    attempt(env, [policy] * 7, recorder, 0)
    assert env.looked == [0, 3, 6]
    assert (recorder.steps, recorder.draft(SPEC, env, 0, policy_id="counting")) == (7, None)


def test_what_was_recorded_before_a_refusal_stays_and_the_refusal_says_who_and_when():
    env, recorder = Counter(refuse_at=2), Recorder()
    with pytest.raises(ActionRefused, match=r"^step 2, the teleoperator: too far"):
        attempt(env, [Person()] * 5, recorder, 0)
    assert recorder.draft(SPEC, env, 0, policy_id=None).length == 2


def test_who_acts_is_asked_after_the_scene_was_set():
    env, order = Counter(), []
    env.reset = lambda seed: order.append("reset") or setattr(env, "n", 0)

    def actors():
        order.append("asked")
        yield Person()

    attempt(env, actors(), Recorder(), 0)
    assert order == ["reset", "asked"]
