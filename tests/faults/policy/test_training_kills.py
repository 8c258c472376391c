"""kill -9 at every named point of training, then the same command again: the same candidates, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.policies import last_candidate, train_synthetic

from policy.models.pi05.config import tiny_config
from recap.hashing import digest_tree
from recap.training.config import FitConfig

_SERVER = """
import json, os, sys
from pathlib import Path
import torch
from policy.conditioning import POSITIVE
from policy.models.pi05.config import tiny_config
from policy.flow.train import train as _
from tests.support.policies import train_synthetic
from recap.training.config import FitConfig

torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports most of torch, seconds of it
config = tiny_config(candidates=3, fit=FitConfig(steps=12, checkpoint_every=5))
for line in sys.stdin:
    folder, base, fault = json.loads(line)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ["RECAP_FAULT"] = fault
        figures = train_synthetic("pi05", config, Path(folder), condition=POSITIVE, base=Path(base))
        os.write(tell, repr(figures["loss"]).encode())
        os._exit(0)
    os.close(tell)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, os.read(told, 100).decode()]), flush=True)
"""
"""Trains in a process of its own per line of input. Forked after the imports, which cost more than the training."""

STEPS = ["step-000008", "step-000010", "step-000012"]
"""Candidates; checkpoints lie at 5, 8, 10 (a candidate as well) and 12."""


class Trainer:
    """Trains on request, in a process that may be killed."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, folder: Path, fault: str = "") -> tuple[int, str]:
        """(exit code, the loss it ended with, to the last digit)."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([str(folder), str(self._base), fault]) + "\n")
        self._server.stdin.flush()
        code, loss = json.loads(self._server.stdout.readline())
        return code, loss

    def close(self) -> None:
        self._server.communicate()


def _digests(folder: Path) -> dict[str, str]:
    """{candidate: digest of its bundle}; everything that lies in the output folder."""
    return {path.name: digest_tree(path) for path in sorted((folder / "policy").iterdir())}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    folder = tmp_path_factory.mktemp("base")
    train_synthetic("pi05", tiny_config(fit=FitConfig(steps=2)), folder)
    trainer = Trainer(last_candidate(folder))
    yield trainer
    trainer.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, train: Trainer) -> tuple[dict[str, str], str]:
    folder = tmp_path_factory.mktemp("whole")
    code, loss = train(folder)
    assert code == 0
    assert float(loss) > 0
    digests = _digests(folder)
    assert list(digests) == STEPS
    assert len(set(digests.values())) == 3
    return digests, loss


@pytest.mark.parametrize(
    "faults",
    [
        ("train.step:3:kill",),
        ("train.before_checkpoint:2:kill",),
        ("train.after_checkpoint:1:kill",),
        ("train.inside_snapshot:2:kill",),
        ("train.after_snapshot:1:kill",),
        (
            "train.after_snapshot:1:kill",
            "train.step:1:kill",
            "train.after_snapshot:2:kill",
            "train.inside_snapshot:1:kill",
        ),
        *(
            pytest.param(faults, marks=pytest.mark.slow)
            for faults in [
                ("train.before_rename:2:kill",),
                ("train.after_checkpoint:4:kill",),
                ("train.before_snapshot:1:kill",),
                ("train.after_snapshot:3:kill",),
                ("train.step:6:kill", "train.before_rename:1:kill", "train.step:1:kill"),
            ]
        ),
    ],
)
def test_killed_training_ends_with_the_same_bits(
    tmp_path: Path, train: Trainer, undisturbed: tuple[dict[str, str], str], faults: tuple[str, ...]
) -> None:
    for fault in faults:
        assert train(tmp_path, fault)[0] == -signal.SIGKILL
        assert not (tmp_path / "policy").exists()
    code, loss = train(tmp_path)
    assert code == 0
    assert (_digests(tmp_path), loss) == undisturbed
    assert sorted(path.name for path in (tmp_path / "scratch" / "candidates").iterdir()) == STEPS
    assert [path.name for path in (tmp_path / "scratch" / "checkpoints").iterdir()] == ["step-000000012"]
