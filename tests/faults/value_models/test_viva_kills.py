"""kill -9 at named points of a ViVa training, then the same command again: the same bundle, bit for bit."""

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
from pathlib import Path
from value_model.models.viva import tiny_config
from tests.support.values import synthetic_values, train_synthetic
from recap.training.config import FitConfig
folder = Path(sys.argv[1])
data = synthetic_values(Path(sys.argv[2]))
config = tiny_config(fit=FitConfig(steps=12, checkpoint_every=4), shift_pixels=int(sys.argv[3]))
print(train_synthetic(config, data, folder)["loss"])
"""


def _train(folder: Path, experience: Path, shift: int, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECAP_FAULT": fault, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TRAIN, str(folder), str(experience), str(shift)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "fault"),
    [(1, "train.step:7:kill"), (0, "train.before_rename:2:kill")],
)
def test_killed_training_ends_with_the_same_bits(tmp_path: Path, shift: int, fault: str) -> None:
    whole = _train(tmp_path / "whole", tmp_path / "data", shift)
    assert whole.returncode == 0, whole.stderr
    killed = _train(tmp_path / "torn", tmp_path / "data", shift, fault)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "torn" / "bundle").exists()
    done = _train(tmp_path / "torn", tmp_path / "data", shift)
    assert done.returncode == 0, done.stderr
    assert done.stdout == whole.stdout
    assert digest_tree(tmp_path / "torn" / "bundle") == digest_tree(tmp_path / "whole" / "bundle")
