"""Named points at which a test can make the program die. A no-op unless RECAP_FAULT is set.

RECAP_FAULT="store.before_manifest:3:kill" ends the process (SIGKILL) the third time that point is reached;
":raise" raises FaultInjected there instead. Recorded attempts are counted per process.
"""

from __future__ import annotations

import os
import signal

_seen: dict[str, int] = {}


class FaultInjected(RuntimeError):
    """Raised at a fault point whose action is "raise"."""


def point(name: str) -> None:
    """Dies here if the environment asks for it; does nothing otherwise."""
    wanted = os.environ.get("RECAP_FAULT")
    if not wanted:
        return
    target, count, action = wanted.rsplit(":", 2)
    if target != name:
        return
    _seen[name] = _seen.get(name, 0) + 1
    if _seen[name] != int(count):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise FaultInjected(f"fault injected at {name}, pass {count}")
