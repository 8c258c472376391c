"""Devices that fail for a step, give nothing, or are half gone: what goes on, what is marked, what ends safely."""

import numpy as np
import pytest
from bench_recording import Recording
from lerobot_robot_bench.task import HoldStill

from data.describe import show
from data.episodes import EpisodeStore
from data.robots.device import Readings, connected
from data.robots.signals import StopSignals
from data.verify import repair, verify
from recap.errors import RobotFault
from recap.types import Outcome

AT = 4


def test_a_reading_that_succeeds_when_made_again_leaves_no_trace(tmp_path):
    recording = Recording(tmp_path, break_at=AT, break_reads=2, setup={"stale_steps": 0})
    summary = recording.run(between=[b"\r", b"q"], during=[{9: b"s"}])
    episode = recording.only()
    assert recording.device.failed == 2
    assert (episode.length, episode.stale, summary.kept[0].stale_steps) == (10, None, ())
    assert "reading" not in recording.label(episode.id).note


def test_a_reading_that_still_fails_is_stood_in_for_and_marked(tmp_path):
    # Three tries in step 4, three in step 5, and one in step 6, whose second try succeeds.
    recording = Recording(tmp_path, break_at=AT, break_reads=7, setup={"stale_steps": 2})
    summary = recording.run(between=[b"\r", b"q"], during=[{9: b"s"}])
    episode = recording.only()
    assert np.flatnonzero(episode.stale).tolist() == [AT, AT + 1]
    for step in (AT, AT + 1):
        np.testing.assert_array_equal(episode.state[step], episode.state[AT - 1])
        np.testing.assert_array_equal(episode.frames["cam_high"][step], episode.frames["cam_high"][AT - 1])
    assert (episode.state[AT + 2] != episode.state[AT + 1]).any()
    label = recording.label(episode.id)
    assert label.outcome is Outcome.SUCCESS
    assert "on an earlier reading: steps 4, 5" in label.note
    heard = recording.operator.heard
    assert any("step 4 went on with an earlier reading: bench_arms: get_observation failed" in text for text in heard)
    assert any(text.startswith("attempt 1: success") and "2 on an earlier reading" in text for text in heard)
    assert summary.kept[0].stale_steps == show(recording.store, episode.id).stale_steps == (AT, AT + 1)
    assert episode.length == len(recording.device.received), "one command a step"


def test_one_step_beyond_the_tolerance_aborts_and_says_why(tmp_path):
    recording = Recording(tmp_path, break_at=AT, setup={"stale_steps": 3, "read_retries": 1})
    said = (
        r"motor 3 does not answer "
        r"\(2 tries; steps of this attempt without a new reading before: 3 of 3, recap.stale_steps\)"
    )
    with pytest.raises(RobotFault, match=said):
        recording.run(between=[b"\r"])
    episode = recording.only()
    assert (episode.length, recording.device.failed) == (AT + 3, 2 * 4)
    assert np.flatnonzero(episode.stale).tolist() == [AT, AT + 1, AT + 2]
    label = recording.label(episode.id)
    assert label.outcome is Outcome.ABORTED
    assert "3 of 3, recap.stale_steps" in label.note
    assert recording.operator.heard[-1] == "disconnected: bench_leader, bench_arms"


def test_the_tolerance_is_an_attempts_own_and_nothing_stands_in_across_attempts(tmp_path):
    recording = Recording(tmp_path, break_at=AT, break_reads=3, setup={"stale_steps": 1})
    summary = recording.run(between=[b"\r", b"\r", b"q"], during=[{6: b"s"}, {8: b"s"}], episodes=2)
    assert [one.stale_steps for one in summary.kept] == [(AT,), (AT,)]
    folder = tmp_path / "first"
    folder.mkdir()
    recording = Recording(folder, policy=HoldStill())

    def unplug():
        recording.device.config.break_at = 0

    with pytest.raises(RobotFault, match="motor 3 does not answer"):
        recording.run(between=[b"\r", b"\r"], during=[{3: b"s"}, {0: unplug}], episodes=2)
    assert recording.only().length == 4, "the second attempt had no reading of its own"


def test_the_marks_are_proved_carried_to_another_store_and_enter_the_id(tmp_path):
    recording = Recording(tmp_path, break_at=AT, break_reads=3, clip=0.01)
    recording.run(between=[b"\r", b"q"], during=[{9: b"s"}])
    episode = recording.only()
    assert list(verify(recording.store)) == []
    path = recording.store.path(episode.id)
    other = EpisodeStore(tmp_path / "other")
    taken = other.load(other.import_episode(path).id)
    assert taken.id == episode.id
    np.testing.assert_array_equal(taken.stale, episode.stale)
    np.testing.assert_array_equal(taken.asked, episode.asked)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"stale/c/0", 0, content.rindex(b"stale/zarr.json"))
    content[place - 20 : place + 40] = bytes(60)
    path.write_bytes(content)
    assert [finding.kind.value for finding in verify(recording.store)] == ["corrupt"]
    assert "quarantined" in repair(recording.store)[0].action


def test_a_command_is_never_sent_again(tmp_path):
    recording = Recording(tmp_path, break_send_at=3)
    with pytest.raises(RobotFault, match=r"send_action failed: ConnectionError: .*; not sent again, for it may have"):
        recording.run(between=[b"\r"])
    received = np.stack(recording.device.received)
    assert len(received) == 4, "the one that failed was sent once"
    assert recording.only().length == 3
    assert recording.label(recording.only().id).outcome is Outcome.ABORTED


def test_a_robot_that_reports_nothing_is_recorded_as_asked_and_it_is_said_once(tmp_path):
    recording = Recording(tmp_path, reports=False)
    summary = recording.run(between=[b"\r", b"\r", b"q"], during=[{5: b"s"}, {7: b"s"}], episodes=2)
    assert summary.judged == 2
    assert not summary.reports
    kept = [recording.store.load(one.episode_id) for one in summary.kept]
    np.testing.assert_array_equal(np.concatenate([one.action for one in kept]), np.stack(recording.device.asked))
    assert sum("does not report what it sends" in text for text in recording.operator.heard) == 1


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_teleoperator_without_a_key_pressed_holds_the_last_command(tmp_path, nothing):
    recording = Recording(tmp_path, setup={"handover_s": 0.0, "stale_steps": 0})
    arms = recording.device
    start = arms.bench.observe(draw=False).state
    recording.leader.device.spoil = lambda action: action if 3 <= len(arms.received) < 6 else nothing
    recording.run(between=[b"\r", b"q"], during=[{9: b"f"}])
    episode = recording.only()
    np.testing.assert_array_equal(episode.action[0], episode.state[0])
    np.testing.assert_array_equal(episode.action[:3], np.repeat(start[None], 3, axis=0), "where it is, at first")
    assert (episode.action[3] != episode.action[2]).any()
    np.testing.assert_array_equal(episode.action[6:], np.repeat(episode.action[5:6], 4, axis=0))
    assert episode.intervened.all()
    assert episode.stale is None, "a person who presses nothing is no fault"


def test_a_channel_that_nobody_measures_cannot_be_held_at_first(tmp_path):
    recording = Recording(tmp_path)
    recording.robot.present_command = lambda: np.full(14, np.nan, dtype=np.float32)
    recording.leader.device.spoil = lambda action: None
    summary = recording.run(between=[b"\r", b"q"])
    assert recording.device.received == []
    assert "bench_leader gave no action, and nothing was sent yet that could be held in left_" in summary.kept[0].note


def test_a_teleoperator_that_cannot_be_read_holds_within_the_same_tolerance(tmp_path):
    recording = Recording(tmp_path, setup={"stale_steps": 2, "read_retries": 1})
    arms, tries = recording.device, []

    def broken(action):
        if len(arms.received) >= 5:
            tries.append(len(arms.received))
            raise TimeoutError("no answer")
        return action

    recording.leader.device.spoil = broken
    with pytest.raises(
        RobotFault, match=r"bench_leader: get_action failed: TimeoutError: no answer \(2 tries; .*: 2 of 2,"
    ):
        recording.run(between=[b"\r"])
    assert tries == [5, 5, 6, 6, 7, 7]
    episode = recording.only()
    np.testing.assert_array_equal(episode.action[5:], np.repeat(episode.action[4:5], 2, axis=0))
    assert np.flatnonzero(episode.stale).tolist() == [5, 6]


def test_a_step_in_which_two_devices_fail_counts_once():
    readings = Readings(retries=0, stale_steps=1)
    readings.do_without(RobotFault("robot"))
    readings.do_without(RobotFault("leader"))
    assert readings.end_step() == "robot; leader"
    assert readings.end_step() == ""
    with pytest.raises(RobotFault, match=r"^robot \(1 try; .* 1 of 1, recap.stale_steps\)"):
        readings.do_without(RobotFault("robot"))
    readings.start()
    readings.do_without(RobotFault("robot"))


def test_a_robot_that_takes_itself_for_disconnected_is_let_go_all_the_same(tmp_path):
    recording = Recording(tmp_path, break_at=2, break_guard=True, setup={"stale_steps": 0})
    with pytest.raises(RobotFault, match="motor 3 does not answer"):
        recording.run(between=[b"\r"])
    assert recording.device.calls == ["connect", "disconnect"]
    assert recording.operator.heard[-1] == "disconnected: bench_leader, bench_arms"


def test_a_lerobot_arm_whose_camera_is_gone_has_its_motors_switched_off(monkeypatch):
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    class Bus:
        is_connected, is_calibrated, freed = True, True, False

        def disconnect(self, disable_torque):
            self.freed = disable_torque

    class Camera:
        is_connected, height, width = False, 4, 4

        def disconnect(self):
            pass

    # Not its own constructor, which wants the motors' SDK.
    arm = object.__new__(SO101Follower)
    arm.id, arm.config = "one", SO101FollowerConfig(port="/dev/null")
    arm.bus, arm.cameras = Bus(), {"front": Camera()}
    monkeypatch.setattr(SO101Follower, "connect", lambda self: None)
    said = []
    with pytest.raises(TimeoutError), connected(arm, say=said.append, stop=StopSignals()):
        raise TimeoutError("front")
    assert arm.bus.freed, "its own guard would have left them on"
    assert said == [f"disconnected: {arm.name}"]


def test_what_no_episode_may_hold_in_its_marks_is_refused(tmp_path):
    from dataclasses import replace

    from tests.support.synthetic import synthetic_draft

    from data.episode_file import header_of
    from recap.errors import ConfigError

    draft = synthetic_draft(3)
    # As before these arrays were kept: what lies in stores keeps its name.
    assert header_of(draft).id == "e48d8bf69d2624a31b78e57612d9d78ced3512d5911c24d3adf93b493b696306"
    store = EpisodeStore(tmp_path)
    for field, value, said in (
        ("stale", np.zeros(3, dtype=np.bool_), r"stale: bool \(3,\), expected bool \(12,\)"),
        ("stale", np.zeros(12, dtype=np.int64), "stale: int64"),
        ("asked", draft.action[:, :3], r"asked: shape \(12, 3\), expected \(12, 14\)"),
        ("asked", np.full_like(draft.action, np.nan), "asked: nan at step 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            store.commit(replace(draft, **{field: value}))
