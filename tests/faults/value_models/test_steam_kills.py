"""kill -9 in the middle of a STEAM training, then the same command again: the same bundle, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from recap.hashing import digest_tree

_TRAIN = """
import sys
from pathlib import Path
from value_model.models.steam import tiny_config
from tests.support.values import synthetic_values, train_synthetic
data = synthetic_values(Path(sys.argv[2]))
print(train_synthetic(tiny_config(), data, Path(sys.argv[1]))["loss"])
"""


def _train(folder: Path, experience: Path, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECAP_FAULT": fault, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TRAIN, str(folder), str(experience)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_killed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", tmp_path / "data")
    assert whole.returncode == 0, whole.stderr
    killed = _train(tmp_path / "torn", tmp_path / "data", "train.step:7:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "torn" / "bundle").exists()
    done = _train(tmp_path / "torn", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert done.stdout == whole.stdout
    assert digest_tree(tmp_path / "torn" / "bundle") == digest_tree(tmp_path / "whole" / "bundle")
