"""Sessions on a third-party LeRobot robot over the simulated bench, with keys through a pseudo-terminal."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from bench_recording import Recording
from lerobot_robot_bench.task import HoldStill

from data.describe import show, stats
from data.verify import verify
from recap.errors import ConfigError, RobotFault
from recap.types import Outcome, Source


class Spoiled(HoldStill):
    """Holds still, and gives bad numbers from the `step`-th chunk on."""

    execute = 1

    def __init__(self, step, value):
        self.step, self.value, self.asked = step, value, 0

    def act(self, observation, *, noise_seed):
        chunk = super().act(observation, noise_seed=noise_seed)
        if self.asked >= self.step:
            chunk[:, 4] = self.value
        self.asked += 1
        return chunk


def test_a_demonstration_is_one_labelled_episode_with_what_was_sent(tmp_path):
    recording = Recording(tmp_path)
    arms = recording.device

    def judge():
        if arms.bench.finished:
            os.write(recording.operator.master, b"s")

    summary = recording.run(between=[b"\r", b"\r"], during=[dict.fromkeys(range(120), judge)])
    episode = recording.only()
    assert arms.bench.truth().outcome is Outcome.SUCCESS, "the person's actions folded the shirt through LeRobot"
    assert (episode.source, episode.policy_id, episode.start_seed, episode.renderer) == (Source.DEMO, None, None, None)
    assert episode.intervened.all()
    assert episode.length == len(arms.received) == summary.pace.steps
    np.testing.assert_array_equal(episode.action, np.stack(arms.received).astype(np.float32))
    assert (episode.asked, episode.stale, summary.reports) == (None, None, True), "nothing to say of them"
    assert sorted(episode.frames) == ["cam_high", "cam_left_wrist", "cam_right_wrist"]
    assert {film.shape for film in episode.frames.values()} == {(episode.length, 16, 16, 3)}
    assert episode.software["lerobot"] == "0.6.1"
    assert episode.software["robot"] == "bench_arms"
    assert recording.label(episode.id).outcome is Outcome.SUCCESS
    assert recording.book.entries()[0].by == "ada"
    labels = recording.book.annotations()
    shown = show(recording.store, episode.id[:12], labels)
    assert (shown.label.outcome, shown.outcome, shown.human_steps) == (Outcome.SUCCESS, None, episode.length)
    assert [group.outcome for group in stats(recording.store, labels=labels).groups] == [Outcome.SUCCESS]
    assert arms.calls == recording.leader.device.calls == ["connect", "disconnect"]
    assert (summary.judged, summary.unlabelled) == (1, 0)


def test_a_corrected_attempt_is_one_episode_with_both_spans(tmp_path):
    recording = Recording(tmp_path, policy=HoldStill())
    summary = recording.run(between=[b"\r", b"q"], during=[{5: b"i", 14: b"h", 20: b"s"}])
    episode = recording.only()
    assert (episode.source, episode.policy_id) == (Source.CORRECTION, "hold-still")
    # A key typed while step 5 is read counts from the next step on.
    assert np.flatnonzero(episode.intervened).tolist() == list(range(6, 15))
    assert episode.length == 21
    assert recording.label(episode.id).outcome is Outcome.SUCCESS
    assert summary.kept[0].human_steps == 9
    assert any("step 6: you have the controls" in text for text in recording.operator.heard)
    assert any("step 15: the policy has the controls" in text for text in recording.operator.heard)


def test_a_take_over_begins_where_the_robot_is(tmp_path):
    jump = 0.5

    def run(handover_s):
        folder = tmp_path / str(handover_s)
        folder.mkdir()
        recording = Recording(folder, policy=HoldStill(), setup={"handover_s": handover_s})
        recording.leader.device.spoil = lambda action: {
            name: recording.device.bench.observe(draw=False).state[i] + jump * (i == 0) for i, name in enumerate(action)
        }
        recording.run(between=[b"\r", b"q"], during=[{2: b"i", 12: b"f"}])
        episode = recording.only()
        return episode.action[3:, 0] - episode.action[2, 0]

    assert run(0.0)[0] > 0.9 * jump
    blended = run(0.09)
    assert blended[0] < 0.2 * jump
    assert (np.diff(blended[:8]) > 0).all()
    assert blended[-1] > 0.9 * jump


def test_a_policy_alone_that_runs_out_of_time_has_failed(tmp_path):
    recording = Recording(tmp_path, teleop=False, policy=HoldStill())
    recording.run(between=[b"\r", b"q"])
    episode = recording.only()
    assert (episode.source, episode.length, episode.intervened.any()) == (Source.ROLLOUT, 110, False)
    label = recording.label(episode.id)
    assert label.outcome is Outcome.FAILURE
    assert label.note.startswith("time limit")


def test_without_a_teleoperator_nobody_takes_over_and_without_a_policy_nobody_is_handed_back_to(tmp_path):
    recording = Recording(tmp_path, teleop=False, policy=HoldStill())
    recording.run(between=[b"i\r", b"q"], during=[{1: b"i", 3: b"f"}])
    assert recording.only().source is Source.ROLLOUT
    assert any("nobody can take over" in text for text in recording.operator.heard)
    folder = tmp_path / "demo"
    folder.mkdir()
    recording = Recording(folder)
    recording.run(between=[b"\r", b"q"], during=[{1: b"h", 3: b"f"}])
    assert recording.only().source is Source.DEMO
    assert any("nobody to hand back to" in text for text in recording.operator.heard)
    with pytest.raises(ConfigError, match="nobody to act"):
        Recording(folder, teleop=False)


def test_a_verdict_is_taken_back_and_given_anew(tmp_path):
    recording = Recording(tmp_path)
    summary = recording.run(between=[b"\r", b"us\ruf\r"], during=[{3: b"s"}])
    (episode_id,) = recording.store.ids()
    assert recording.label(episode_id).outcome is Outcome.SUCCESS, "Enter ended the session at the first new verdict"
    assert len(recording.book.entries()) == 3
    assert summary.judged == 1


def test_no_attempt_starts_while_the_last_has_no_verdict(tmp_path):
    recording = Recording(tmp_path)
    summary = recording.run(between=[b"\r", b"u\rq"], during=[{3: b"s"}])
    (episode_id,) = recording.store.ids()
    assert recording.label(episode_id) is None
    assert (summary.judged, summary.unlabelled) == (0, 1)
    assert any("has no verdict" in text for text in recording.operator.heard)


def test_a_stored_attempt_that_is_discarded_after_all_is_set_aside(tmp_path):
    recording = Recording(tmp_path)
    summary = recording.run(between=[b"\r", b"udq"], during=[{3: b"s"}])
    assert recording.store.ids() == ()
    assert recording.book.annotations() == {}
    assert len(list(recording.store.quarantine.glob("*.zip"))) == 1
    assert b"discarded by ada" in next(recording.store.quarantine.glob("*.reason.json")).read_bytes()
    assert list(verify(recording.store)) == []
    assert (summary.judged, summary.unlabelled) == (0, 0)


def test_a_discarded_attempt_leaves_nothing_and_can_be_taken_back_until_the_next(tmp_path):
    recording = Recording(tmp_path)
    recording.run(
        between=[b"\r", b"\r", b"uf\r"],
        during=[{3: b"d"}, {4: b"d"}],
    )
    # The third Enter started an attempt only if the second one counts: it does, so the session ended with one episode.
    episode = recording.only()
    assert episode.length == 5
    assert recording.label(episode.id).outcome is Outcome.FAILURE


def test_space_and_q_stop_the_robot_and_count_for_nothing(tmp_path):
    recording = Recording(tmp_path)
    recording.run(between=[b"\r", b"\r"], during=[{3: b" "}, {2: b"q"}])
    labels = [recording.label(episode_id) for episode_id in recording.store.ids()]
    assert [label.outcome for label in labels] == [Outcome.ABORTED, Outcome.ABORTED]
    assert {label.note.split(";")[0] for label in labels} == {"stopped by the operator"}
    assert recording.device.calls == ["connect", "disconnect"]


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (np.inf, "inf"), (9.0, "9")])
def test_a_bad_action_of_the_policy_is_never_sent(tmp_path, value, said):
    policy = Spoiled(4, value)
    recording = Recording(tmp_path, policy=policy)

    def mended():
        policy.step = 10**9

    recording.run(between=[b"\r", b"\r", b"q"], during=[{}, {0: mended, 2: b"f"}])
    received = np.stack(recording.device.received)
    assert np.isfinite(received).all()
    assert np.abs(received).max() < 3.2
    labels = {
        recording.label(name).outcome: (recording.store.info(name), recording.label(name))
        for name in recording.store.ids()
    }
    assert set(labels) == {Outcome.ABORTED, Outcome.FAILURE}, "the session went on after the refused action"
    info, label = labels[Outcome.ABORTED]
    assert f"step {info.length}, the policy: action refused, nothing was sent: left_" in label.note
    assert f"= {said} (limits -3.2..3.2)" in label.note


def test_a_bad_action_of_the_person_is_never_sent(tmp_path):
    recording = Recording(tmp_path)
    arms = recording.device
    recording.leader.device.spoil = lambda action: action | {"right_grip.pos": 1.5 * (len(arms.received) >= 7)}
    recording.run(between=[b"\r", b"q"])
    assert len(arms.received) == 7
    assert all(command[13] <= 1.05 for command in recording.device.received)
    (episode_id,) = recording.store.ids()
    assert "the teleoperator: action refused, nothing was sent: right_grip" in recording.label(episode_id).note


def test_what_the_robot_made_of_a_command_is_what_is_recorded(tmp_path):
    recording = Recording(tmp_path, clip=0.01)
    summary = recording.run(between=[b"\r", b"q"], during=[{8: b"f"}])
    episode = recording.only()
    np.testing.assert_array_equal(episode.action, np.stack(recording.device.received).astype(np.float32))
    assert np.abs(episode.action - episode.state).max() < 0.011
    np.testing.assert_array_equal(episode.asked, np.stack(recording.device.asked).astype(np.float32))
    changed = int((episode.asked != episode.action).any(axis=1).sum())
    assert changed > 4, "the person wanted to go faster than the robot does"
    assert show(recording.store, episode.id).changed_steps == summary.kept[0].changed_steps == changed
    assert any(f"{changed} sent otherwise than asked" in text for text in recording.operator.heard)


def test_a_robot_that_breaks_leaves_an_aborted_attempt_and_is_disconnected(tmp_path):
    recording = Recording(tmp_path, break_at=6, setup={"stale_steps": 0})
    with pytest.raises(
        RobotFault, match="bench_arms: get_observation failed: ConnectionError: motor 3 does not answer"
    ):
        recording.run(between=[b"\r"])
    episode = recording.only()
    assert episode.length == 6
    label = recording.label(episode.id)
    assert label.outcome is Outcome.ABORTED
    assert "motor 3 does not answer" in label.note
    assert recording.device.calls == recording.leader.device.calls == ["connect", "disconnect"]
    assert recording.operator.heard[-1] == "disconnected: bench_leader, bench_arms"
    assert recording.session.summary().kept[0].outcome is Outcome.ABORTED


def test_a_robot_that_breaks_before_the_first_step_leaves_nothing(tmp_path):
    recording = Recording(tmp_path, break_at=0)
    with pytest.raises(RobotFault):
        recording.run(between=[b"\r"])
    assert recording.store.ids() == ()


def test_a_policy_that_fails_is_no_fault_of_the_robot(tmp_path):
    class Broken(HoldStill):
        def act(self, observation, *, noise_seed):
            raise ValueError("no such weight")

    recording = Recording(tmp_path, policy=Broken())
    with pytest.raises(ValueError, match="no such weight"):
        recording.run(between=[b"\r"])
    assert recording.device.calls == ["connect", "disconnect"]


def test_what_was_connected_is_disconnected_when_the_rest_fails(tmp_path):
    recording = Recording(tmp_path, leader={"break_connect": True})
    with pytest.raises(RobotFault, match="bench_leader: connect failed: ConnectionError: no leader"):
        recording.run(between=[])
    assert recording.device.calls == ["connect", "disconnect"]
    folder = tmp_path / "second"
    folder.mkdir()
    recording = Recording(folder, break_connect=True, break_disconnect=True)
    with pytest.raises(RobotFault, match="connect failed: ConnectionError: no such port") as caught:
        recording.run(between=[])
    assert "disconnect failed: OSError: bus busy" in caught.value.__notes__[0]
    assert recording.leader.device.calls == []


def test_a_failing_disconnect_is_said_and_hinders_nobody(tmp_path):
    recording = Recording(tmp_path, break_disconnect=True)
    with pytest.raises(RobotFault, match="disconnect failed: OSError: bus busy"):
        recording.run(between=[b"\r", b"q"], during=[{2: b"s"}])
    assert recording.leader.device.calls == ["connect", "disconnect"]
    assert recording.operator.heard[-2:] == [
        "disconnected: bench_leader",
        "NOT disconnected, its motors may still be on: bench_arms: disconnect failed: OSError: bus busy",
    ]
    assert recording.label(recording.only().id).outcome is Outcome.SUCCESS


def test_ctrl_c_ends_the_attempt_at_its_next_step(tmp_path):
    recording = Recording(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    summary = recording.run(between=[b"\r"], during=[{5: lambda: os.kill(os.getpid(), signal.SIGINT)}])
    assert signal.getsignal(signal.SIGINT) is before
    assert summary.interrupted == "SIGINT"
    episode = recording.only()
    assert episode.length == 6
    assert recording.label(episode.id).outcome is Outcome.ABORTED
    assert recording.device.calls == ["connect", "disconnect"]


def test_driving_between_attempts_moves_the_robot_and_records_nothing(tmp_path):
    recording = Recording(tmp_path)
    arms = recording.device
    real = recording.leader.device.get_action

    def get_action():
        if len(arms.received) == 5:
            os.write(recording.operator.master, b"hq")
        return real()

    recording.leader.device.get_action = get_action
    recording.run(between=[b"i"])
    assert len(arms.received) >= 5
    assert recording.store.ids() == ()
    assert "the robot stands" in recording.operator.heard


def test_late_steps_are_counted_and_noted(tmp_path):
    recording = Recording(tmp_path)
    real = recording.leader.device.get_action

    def get_action():
        time.sleep(0.03)
        return real()

    recording.leader.device.get_action = get_action
    summary = recording.run(between=[b"\r", b"q"], during=[{9: b"f"}])
    assert summary.pace.late == summary.pace.missed == 10
    assert summary.pace.worst_s > 0.02
    assert summary.pace.rate_hz < 40
    assert recording.label(recording.only().id).note == "10 of 10 steps late"


def test_a_policy_slower_than_the_period_does_not_make_the_robot_wait(tmp_path):
    asked, sent = [], []

    class Slow(HoldStill):
        execute = 1

        def act(self, observation, *, noise_seed):
            received, until = recording.device.received, time.monotonic() + 2
            before = len(received)
            time.sleep(0.05)
            while asked and len(received) == before and time.monotonic() < until:
                time.sleep(0.002)
            asked.append(before)
            sent.append(len(received) - before)
            return np.repeat(observation.state[None], 40, axis=0)

    recording = Recording(tmp_path, policy=Slow())
    summary = recording.run(between=[b"\r", b"q"], during=[{60: b"f"}])
    assert len(sent) > 1
    assert sent[0] == 0, "nothing before the first chunk"
    assert min(sent[1:-1]) > 0, "while the policy thinks the robot is sent commands"
    assert summary.inference_s < 0.03, "and none of them is held for want of an action"


def test_a_policy_that_gives_nothing_for_too_long_ends_the_attempt_and_the_session_goes_on(tmp_path):
    class Stuck(HoldStill):
        def act(self, observation, *, noise_seed):
            time.sleep(0.4)
            return super().act(observation, noise_seed=noise_seed)

    recording = Recording(tmp_path, policy=Stuck(), setup={"late_s": 0.1})
    recording.run(between=[b"\r", b"q"])
    label = recording.label(recording.only().id)
    assert label.outcome is Outcome.ABORTED
    assert "gave no action for 10 steps (recap.late_s)" in label.note


def test_a_command_that_changes_faster_than_a_speed_allows_is_never_sent(tmp_path):
    recording = Recording(tmp_path, setup={"speeds": {"left_waist": 1.0}, "handover_s": 0.0})
    arms = recording.device
    recording.leader.device.spoil = lambda action: (
        action | {"left_waist.pos": arms.bench.observe(draw=False).state[0] + (0.5 if len(arms.received) >= 3 else 0.0)}
    )
    recording.run(between=[b"\r", b"q"])
    assert len(arms.received) == 3
    note = recording.label(recording.only().id).note
    assert "the teleoperator: action too fast, nothing was sent: left_waist by 0.5 in one step" in note
    assert "(speeds: 1 a second, 0.01 a step)" in note


def test_a_pause_sends_and_records_nothing_and_goes_on(tmp_path):
    recording = Recording(tmp_path)

    def pause():
        os.write(recording.operator.master, b"p")
        threading.Timer(0.5, lambda: os.write(recording.operator.master, b"p")).start()

    began = time.monotonic()
    summary = recording.run(between=[b"\r", b"q"], during=[{3: pause, 9: b"f"}])
    assert time.monotonic() - began > 0.5
    assert recording.only().length == 10
    assert summary.pace.seconds < 0.5, "a pause is no step that came late"
    assert any("paused, nothing is sent" in text for text in recording.operator.heard)
