"""Named points at which a test can make the program die. A no-op unless RECAP_FAULT is set.

RECAP_FAULT="store.before_manifest:3:kill" ends the process (SIGKILL) the third time that point is reached;
":raise" raises FaultInjected there instead. "1/value@train.step:5:kill" counts only while the node 1/value runs.
Recorded attempts are counted per process.
"""

from __future__ import annotations

import os
import signal

_seen: dict[str, int] = {}
_node = ""


class FaultInjected(RuntimeError):
    """Raised at a fault point whose action is "raise"."""


def enter(node: str) -> None:
    """Says which node of the graph runs from now on in this process; "" for none."""
    global _node
    _node = node


def point(name: str) -> None:
    """Dies here if the environment asks for it; does nothing otherwise."""
    wanted = os.environ.get("RECAP_FAULT")
    if not wanted:
        return
    target, count, action = wanted.rsplit(":", 2)
    node, _, wanted_name = target.rpartition("@")
    if wanted_name != name or (node and node != _node):
        return
    _seen[name] = _seen.get(name, 0) + 1
    if _seen[name] != int(count):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise FaultInjected(f"fault injected at {name}, pass {count}")
