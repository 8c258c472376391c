"""Calls to a LeRobot driver: what it raises, reading again, doing without one reading, connecting and letting go.

Knows no task and no channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from data.robots.signals import StopSignals
from recap.errors import RecapError, RobotFault


@contextmanager
def faults(device: Any, call: str, *, remark: str = "") -> Iterator[None]:
    """Whatever `device` raises becomes a RobotFault that says in which call; `remark` is added to it."""
    try:
        yield
    except RecapError:
        raise
    # Drivers raise whatever they like; each of it means that this call did not do what it should.
    except Exception as error:
        raise RobotFault(f"{device.name}: {call} failed: {type(error).__name__}: {error}{remark}") from error


class Readings:
    """Readings that may fail: each is made again a few times, and a few steps of an attempt may do without.

    Only for what changes nothing on a device. A command is never made again: it may have been sent.
    """

    def __init__(self, *, retries: int, stale_steps: int) -> None:
        """`retries`: further tries of a failed reading. `stale_steps`: steps of an attempt that may do without."""
        self._retries, self._allowed = retries, stale_steps
        self.start()

    def start(self) -> None:
        """An attempt begins: the count starts anew."""
        self._used = 0
        self._why: list[str] = []

    def read[T](self, read: Callable[[], T]) -> T:
        """What `read` returns, at the first try that succeeds.

        Raises:
            RobotFault: no try did; the fault of the last one.
        """
        for _ in range(self._retries):
            with suppress(RobotFault):
                return read()
        return read()

    def do_without(self, fault: RobotFault) -> None:
        """This step goes on with an earlier reading. A step counts once, whatever failed in it.

        Raises:
            RobotFault: `fault`, if no further step of the attempt may.
        """
        if not self._why:
            if self._used >= self._allowed:
                tries = f"{self._retries + 1} tries" if self._retries else "1 try"
                used = f"steps of this attempt without a new reading before: {self._used} of {self._allowed}"
                raise RobotFault(f"{fault.message} ({tries}; {used}, recap.stale_steps)") from fault
            self._used += 1
        self._why.append(fault.message)

    def end_step(self) -> str:
        """The step is over; why it did without a new reading, "" if it did not."""
        why, self._why = "; ".join(self._why), []
        return why


@contextmanager
def connected(*devices: Any, say: Callable[[str], None], stop: StopSignals) -> Iterator[None]:
    """All devices connected, in order; all of them disconnected at the end, in reverse order, whatever happens.

    A device whose connecting failed half-way is told to disconnect too. When one cannot be disconnected the others
    still are, and the fault says so unless another one is under way. `say` hears which were let go and which were not.
    `stop`, entered before: a signal interrupts the connecting, and is only noted while devices are let go.

    Raises:
        RobotFault: a device could not be connected or disconnected.
    """
    freed: list[str] = []
    held: list[str] = []
    try:
        with ExitStack() as stack:
            try:
                stop.urgent = True
                for device in devices:
                    stack.push(lambda kind, error, trace, device=device: _let_go(device, error, freed, held))
                    with faults(device, "connect"):
                        device.connect()
            finally:
                stop.urgent = False
            yield
    finally:
        if freed:
            say(f"disconnected: {', '.join(freed)}")
        if held:
            say(f"NOT disconnected, its motors may still be on: {', '.join(held)}")


def _let_go(device: Any, under_way: BaseException | None, freed: list[str], held: list[str]) -> bool:
    held.append(device.name)
    # An interrupt while it is let go leaves it named as held.
    try:
        with faults(device, "disconnect"):
            _disconnect(device)
    except RobotFault as fault:
        held[-1] = fault.message
        if under_way is None:
            raise
        # What ended the session matters more; a device that never connected always complains here.
        under_way.add_note(fault.message)
    else:
        held.pop()
        freed.append(device.name)
    return False


def _disconnect(device: Any) -> None:
    from lerobot.utils.errors import DeviceNotConnectedError

    try:
        device.disconnect()
    except DeviceNotConnectedError:
        # LeRobot's guard takes a robot of which one part is gone, a camera say, for one that is not connected, and
        # leaves its motors on. What the guard stands before lets go of the motors first.
        guarded = device.disconnect
        unguarded = getattr(guarded, "__wrapped__", None)
        if unguarded is None:
            raise
        unguarded(guarded.__self__)
