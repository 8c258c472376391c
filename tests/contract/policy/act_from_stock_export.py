"""Run in its own process by test_export.py: LeRobot's own pi0.5 acts from an exported folder, without the plug-in.

Takes the folder and a file of observations; prints what policy.flow.lerobot.act prints.
"""

from __future__ import annotations

import sys

from compare_with_lerobot import lerobot_network
from lerobot.configs import PreTrainedConfig
from tests.support.published import pi05_sizes

from policy.flow.lerobot import act


def main(folder: str, observations: str) -> None:
    """Only the sizes are not LeRobot's own: its tables know the published ones alone."""
    lerobot_network(pi05_sizes(), 8)
    act.register_third_party_plugins = lambda: None
    act.main(folder, observations)
    assert "recap_pi05" not in PreTrainedConfig.get_known_choices()


if __name__ == "__main__":
    main(*sys.argv[1:])
