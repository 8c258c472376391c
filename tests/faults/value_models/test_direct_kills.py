"""kill -9 in a VLM, CNN or STEAM training, then the same command again: the same bundle, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recap.hashing import digest_tree

_TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from recap.training.config import FitConfig
from tests.support.values import synthetic_values, train_synthetic
from value_model.models import VALUE_MODELS
folder = Path(sys.argv[1])
data = synthetic_values(Path(sys.argv[2]))
config = VALUE_MODELS.get(sys.argv[3]).presets["tiny"](steps=12)
print(train_synthetic(replace(config, fit=FitConfig(steps=12, checkpoint_every=4)), data, folder)["loss"])
"""


def _train(folder: Path, experience: Path, family: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECAP_FAULT": fault, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TRAIN, str(folder), str(experience), family]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# The loop that is killed is the one of ViVa, whose kills are in the quick suite.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "fault"),
    [("vlm", "train.step:7:kill"), ("cnn", "train.before_rename:2:kill"), ("steam", "train.step:7:kill")],
)
def test_killed_training_ends_with_the_same_bits(family: str, fault: str, tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", tmp_path / "data", family)
    assert whole.returncode == 0, whole.stderr
    killed = _train(tmp_path / "torn", tmp_path / "data", family, fault)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "torn" / "bundle").exists()
    done = _train(tmp_path / "torn", tmp_path / "data", family)
    assert done.returncode == 0, done.stderr
    assert done.stdout == whole.stdout
    assert digest_tree(tmp_path / "torn" / "bundle") == digest_tree(tmp_path / "whole" / "bundle")
