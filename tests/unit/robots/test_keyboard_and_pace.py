"""Keys from a pseudo-terminal, the clock of the control loop, and signals kept for the next step."""

import contextlib
import os
import pty
import signal
import termios
import time

import pytest

from data.robots.keyboard import Key, TerminalKeys
from data.robots.pace import NO_PACE, Pace
from data.robots.signals import StopSignals
from recap.errors import ConfigError


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    yield master, slave
    for handle in (master, slave):
        with contextlib.suppress(OSError):  # a test may have closed it
            os.close(handle)


def test_keys_come_one_by_one_without_enter_and_unknown_ones_are_dropped(terminal):
    master, slave = terminal
    with TerminalKeys(slave) as keys:
        assert keys.read() == []
        os.write(master, b"xs I")
        assert keys.read(wait_s=1.0) == [Key.SUCCESS, Key.STOP]
        os.write(master, b"\x1b[A")
        assert keys.read(wait_s=1.0) == [], "an arrow key is no letter"
        os.write(master, b"ihfduq\r")
        assert keys.read(wait_s=1.0) == [
            Key.INTERVENE,
            Key.HAND_BACK,
            Key.FAILURE,
            Key.DISCARD,
            Key.UNDO,
            Key.QUIT,
            Key.START,
        ]
        os.write(master, b"\r")
        keys.forget()
        assert keys.read() == [], "what was typed before is forgotten"


def test_the_terminal_is_as_before_whatever_happens(terminal):
    _, slave = terminal
    before = termios.tcgetattr(slave)
    with contextlib.suppress(KeyboardInterrupt), TerminalKeys(slave):
        assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(slave)[3] & termios.ISIG, "Ctrl-C stays a signal"
        raise KeyboardInterrupt
    assert termios.tcgetattr(slave) == before


def test_a_terminal_that_goes_away_means_quit_once(terminal):
    master, slave = terminal
    with TerminalKeys(slave) as keys:
        os.close(master)
        assert keys.read(wait_s=1.0) == [Key.QUIT]
        assert keys.read() == []
        keys.forget()


def test_a_pipe_is_no_terminal():
    reading, writing = os.pipe()
    with pytest.raises(ConfigError, match="come from a terminal"):
        TerminalKeys(reading)
    os.close(reading)
    os.close(writing)


class Clock:
    """Time that passes when somebody sleeps or works."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds

    def sleep(self, seconds):
        self.slept.append(seconds)
        # A little short, as real ones can be.
        self.now += seconds * 0.75 if seconds > 1e-3 else seconds


def test_the_pace_is_kept_and_late_steps_are_counted_and_not_made_up_for():
    clock = Clock()
    pace = Pace(50.0, clock=clock, sleep=clock.sleep)
    for step in range(1, 6):
        clock.work(0.012)
        pace.wait()
        assert clock.now == pytest.approx(100.0 + step * 0.02)
    assert pace.report().late == 0
    clock.work(0.07)
    pace.wait()
    assert clock.now == pytest.approx(100.17), "nobody waits after a late step"
    clock.work(0.001)
    pace.wait()
    assert clock.now == pytest.approx(100.19), "the period after a late one is a whole one"
    report = pace.report()
    assert (report.steps, report.late) == (7, 1)
    assert report.worst_s == pytest.approx(0.05)
    assert report.rate_hz == pytest.approx(7 / 0.19)
    total = report + NO_PACE + report
    assert (total.steps, total.late, total.worst_s) == (14, 2, report.worst_s)
    pace.start()
    assert pace.report().steps == 0
    assert NO_PACE.rate_hz == 0.0


def test_real_time_passes():
    pace = Pace(50.0)
    began = time.perf_counter()
    for _ in range(3):
        pace.wait()
    assert time.perf_counter() - began >= 0.0599


def test_the_first_signal_is_a_wish_and_a_second_ctrl_c_an_order():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in handlers} == handlers
