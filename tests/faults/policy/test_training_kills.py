"""kill -9 at every named point of training, then the same command again: the same bundle, bit for bit."""

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
from policy.models.pi05 import tiny_config
from policy.testing import train_synthetic
from recap.training.config import FitConfig
figures = train_synthetic("pi05", tiny_config(fit=FitConfig(steps=12, checkpoint_every=4)), Path(sys.argv[1]))
print(figures["loss"])
"""


def _train(folder: Path, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECAP_FAULT": fault, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", _TRAIN, str(folder)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    done = _train(folder)
    assert done.returncode == 0, done.stderr
    return digest_tree(folder / "policy"), done.stdout


@pytest.mark.parametrize(
    "faults",
    [
        ("train.step:3:kill",),
        ("train.before_checkpoint:2:kill",),
        ("train.before_rename:2:kill",),
        ("train.after_checkpoint:1:kill",),
        ("train.after_checkpoint:3:kill",),
        ("train.step:6:kill", "train.before_rename:1:kill", "train.step:1:kill"),
    ],
)
def test_killed_training_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: tuple[str, str], faults: tuple[str, ...]
) -> None:
    for fault in faults:
        killed = _train(tmp_path, fault)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "policy" / "recap.json").exists()
    done = _train(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (digest_tree(tmp_path / "policy"), done.stdout) == undisturbed
    assert [path.name for path in (tmp_path / "scratch" / "checkpoints").iterdir()] == ["step-000000012"]
