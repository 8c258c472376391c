"""LeRobot's own discovery of third-party policies finds recap_pi05, in a process that imported nothing of recap."""

import os
import subprocess
import sys

import pytest

_SCRIPT = """
from lerobot.utils.import_utils import register_third_party_plugins
register_third_party_plugins()
from lerobot.policies.factory import get_policy_class
from lerobot.configs.policies import PreTrainedConfig
print(PreTrainedConfig.get_choice_class("recap_pi05").__name__, get_policy_class("recap_pi05").__name__)
"""


@pytest.mark.slow
def test_lerobot_finds_the_policy_type_by_itself() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["RecapPI05Config", "RecapPI05Policy"]
