"""The teleoperator's own buttons, where the robot's file asks for them, do what the operator's keys do."""

import numpy as np
import pytest
from bench_recording import Recording
from lerobot.teleoperators.utils import TeleopEvents
from lerobot_robot_bench.task import HoldStill

from data.robots.buttons import Buttons
from data.robots.device import Readings
from data.robots.keyboard import Key
from recap.errors import ConfigError, RobotFault
from recap.types import Outcome

RERECORD, SUCCESS, FAILURE = TeleopEvents.RERECORD_EPISODE, TeleopEvents.SUCCESS, TeleopEvents.FAILURE
HELD, ENDS = TeleopEvents.IS_INTERVENTION, TeleopEvents.TERMINATE_EPISODE


class Typed:
    def __init__(self, *keys):
        self.keys, self.forgotten = list(keys), 0

    def read(self, *, wait_s=0.0):
        typed, self.keys = self.keys, []
        return typed

    def forget(self):
        self.keys, self.forgotten = [], self.forgotten + 1


class Pad:
    name = "pad"

    def __init__(self):
        self.events, self.broken = {}, 0

    def get_teleop_events(self):
        if self.broken:
            self.broken -= 1
            raise OSError("unplugged")
        return self.events


def test_an_attempt_is_corrected_and_judged_from_the_teleoperator(tmp_path):
    recording = Recording(tmp_path, policy=HoldStill(), setup={"buttons": True})
    leader = recording.leader.device

    def press(*events):
        return lambda: setattr(leader, "events", dict.fromkeys(events, True))

    recording.run(between=[b"\r", b"q"], during=[{5: press(HELD), 14: press(), 20: press(SUCCESS)}])
    episode = recording.only()
    assert np.flatnonzero(episode.intervened).tolist() == list(range(6, 15))
    assert episode.length == 21
    assert recording.label(episode.id).outcome is Outcome.SUCCESS


def test_nobody_looks_at_buttons_that_were_not_asked_for(tmp_path):
    recording = Recording(tmp_path, policy=HoldStill())
    recording.leader.device.events = {SUCCESS: True}
    recording.run(between=[b"\r", b"q"], during=[{5: b"f"}])
    assert recording.label(recording.only().id).outcome is Outcome.FAILURE


@pytest.mark.parametrize(
    ("events", "key"),
    [
        ({SUCCESS: True, ENDS: True}, Key.SUCCESS),
        ({RERECORD: True, ENDS: True, SUCCESS: False}, Key.DISCARD),
        ({ENDS: True, SUCCESS: False}, Key.FAILURE),
        ({FAILURE: True}, Key.FAILURE),
        ({"is_intervention": True}, Key.INTERVENE),
    ],
)
def test_a_button_counts_when_it_is_pressed_and_not_while_it_is_held(events, key):
    pad, typed = Pad(), Typed(Key.PAUSE)
    buttons = Buttons(typed, pad, Readings(retries=0, stale_steps=0))
    pad.events = events
    assert buttons.read() == [Key.PAUSE, key]
    assert buttons.read() == []
    pad.events = {}
    assert buttons.read() == ([Key.HAND_BACK] if key is Key.INTERVENE else [])
    pad.events = events
    buttons.forget()
    assert (buttons.read(), typed.forgotten) == ([], 1)


def test_a_teleoperator_that_cannot_say_is_asked_again_and_then_at_fault():
    pad = Pad()
    buttons = Buttons(Typed(), pad, Readings(retries=2, stale_steps=0))
    pad.events, pad.broken = {SUCCESS: True}, 2
    assert buttons.read() == [Key.SUCCESS]
    pad.broken = 3
    with pytest.raises(RobotFault, match="pad: get_teleop_events failed: OSError: unplugged"):
        buttons.read()


def test_buttons_that_there_are_not_are_refused_by_name(tmp_path, monkeypatch):
    def refused(match, **how):
        folder = tmp_path / match.split()[-1]
        folder.mkdir()
        recording = Recording(folder, policy=HoldStill(), setup={"buttons": True}, **how)
        with pytest.raises(ConfigError, match=match) as told:
            recording.run(between=[])
        assert "buttons: false" in told.value.hint

    refused("there is no teleoperator", teleop=False)
    leader = type(Recording(tmp_path).leader.device)
    monkeypatch.setattr(leader, "name", "keyboard_ee")
    refused("loses its movements")
    monkeypatch.setattr(leader, "name", "bench_leader")
    monkeypatch.delattr(leader, "get_teleop_events")
    refused("'bench_leader' tells of no buttons")
