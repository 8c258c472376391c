"""LeRobot's policy server with recap's policy types: its own command knows only a fixed list and looks for no plug-in.

    python -m lerobot_policy_recap.policy_server --host=127.0.0.1 --port=8080

The options are those of `python -m lerobot.async_inference.policy_server`. What LeRobot's clients send is unpickled:
let nobody reach the port whom you would not let run programs here.
"""

from lerobot.async_inference import constants
from lerobot.async_inference.policy_server import serve

import lerobot_policy_recap  # noqa: F401 - registers the types
from policy.models.gigabrain0.layout import LEROBOT as GIGABRAIN0
from policy.models.pi05.layout import LEROBOT as PI05

if __name__ == "__main__":
    constants.SUPPORTED_POLICIES.extend(kind.name for kind in (PI05, GIGABRAIN0))
    serve()
