"""kill -9 at every named point of training, then the same command again: the same candidates, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from policy.models.pi05 import tiny_config
from policy.testing import last_candidate, train_synthetic
from recap.hashing import digest_tree
from recap.training.config import FitConfig

_TRAIN = """
import sys
from pathlib import Path
from policy.conditioning import POSITIVE
from policy.models.pi05 import tiny_config
from policy.testing import train_synthetic
from recap.training.config import FitConfig
config = tiny_config(candidates=3, fit=FitConfig(steps=12, checkpoint_every=5))
figures = train_synthetic("pi05", config, Path(sys.argv[1]), tag=POSITIVE, base=Path(sys.argv[2]))
print(figures["loss"])
"""


STEPS = ["step-000008", "step-000010", "step-000012"]
"""Candidates; checkpoints lie at 5, 8, 10 (a candidate as well) and 12."""


def _train(folder: Path, base: Path, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECAP_FAULT": fault, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TRAIN, str(folder), str(base)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _digests(folder: Path) -> dict[str, str]:
    """{candidate: digest of its bundle}; everything that lies in the output folder."""
    return {path.name: digest_tree(path) for path in sorted((folder / "policy").iterdir())}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    train_synthetic("pi05", tiny_config(fit=FitConfig(steps=2)), folder)
    return last_candidate(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, base: Path) -> tuple[dict[str, str], str]:
    folder = tmp_path_factory.mktemp("whole")
    done = _train(folder, base)
    assert done.returncode == 0, done.stderr
    digests = _digests(folder)
    assert list(digests) == STEPS
    assert len(set(digests.values())) == 3
    return digests, done.stdout


@pytest.mark.parametrize(
    "faults",
    [
        ("train.step:3:kill",),
        ("train.before_checkpoint:2:kill",),
        ("train.before_rename:2:kill",),
        ("train.after_checkpoint:1:kill",),
        ("train.after_checkpoint:4:kill",),
        ("train.before_snapshot:1:kill",),
        ("train.inside_snapshot:2:kill",),
        ("train.after_snapshot:1:kill",),
        ("train.after_snapshot:3:kill",),
        (
            "train.after_snapshot:1:kill",
            "train.step:1:kill",
            "train.after_snapshot:2:kill",
            "train.inside_snapshot:1:kill",
        ),
        ("train.step:6:kill", "train.before_rename:1:kill", "train.step:1:kill"),
    ],
)
def test_killed_training_ends_with_the_same_bits(
    tmp_path: Path, base: Path, undisturbed: tuple[dict[str, str], str], faults: tuple[str, ...]
) -> None:
    for fault in faults:
        killed = _train(tmp_path, base, fault)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "policy").exists()
    done = _train(tmp_path, base)
    assert done.returncode == 0, done.stderr
    assert (_digests(tmp_path), done.stdout) == undisturbed
    assert sorted(path.name for path in (tmp_path / "scratch" / "candidates").iterdir()) == STEPS
    assert [path.name for path in (tmp_path / "scratch" / "checkpoints").iterdir()] == ["step-000000012"]
