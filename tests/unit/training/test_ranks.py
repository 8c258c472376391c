"""Two processes that train together over Gloo, on the loopback: what one process would have found."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_worker import gradients, train_pi05
from safetensors.torch import load_file
from tests.support.policies import last_candidate

from recap.errors import ResumeRefused
from recap.hashing import digest_tree
from recap.training.config import FitConfig
from recap.training.runtime import Runtime

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).parent / "rank_worker.py"


def run_ranks(job: str, folder: Path, world_size: int = 2) -> None:
    """Runs the job on all ranks and waits; a rank that fails takes the others with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(WORKER), job, str(rank), str(world_size), address, str(folder)],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world_size)
    ]  # fmt: skip
    try:
        for rank in ranks:
            _, errors = rank.communicate(timeout=200)
            assert rank.returncode == 0, errors
    finally:
        for rank in ranks:
            with rank:
                rank.kill()


@pytest.mark.parametrize(
    "family",
    [
        "pi05",
        "gigabrain0",
        "viva",
        "steam",
        pytest.param("vlm", marks=pytest.mark.slow),
        pytest.param("cnn", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_two_ranks_are_those_of_one_process(family: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    expected = gradients(family, tmp_path / "one", Runtime())
    run_ranks(family, tmp_path / "two")
    largest = max(float(value.abs().max()) for value in expected.values())
    assert largest > 1e-2  # the comparison below means something
    for rank in range(2):
        found = load_file(tmp_path / "two" / f"gradients-{rank}.safetensors")
        assert set(found) == set(expected)
        for name, value in expected.items():
            # Sums of another order: small gradients differ by the rounding of the larger ones that they are sums of.
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=max(1e-6, 2e-5 * largest))


def test_two_ranks_train_resume_and_refuse_another_number(tmp_path: Path) -> None:
    run_ranks("train_twice", tmp_path)
    whole, cut = (last_candidate(tmp_path / name) for name in ("whole", "cut"))
    assert digest_tree(whole) == digest_tree(cut)  # a resume goes on with the same bits
    fit = FitConfig(steps=8, checkpoint_every=3)
    train_pi05(tmp_path / "one", Runtime(), tmp_path, fit)
    alone, together = (load_file(last_candidate(tmp_path / n) / "model.safetensors") for n in ("one", "whole"))
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4)
    (place,) = (tmp_path / "whole" / "scratch" / "checkpoints").iterdir()
    shards = [load_file(place / f"model-{rank}-of-2.safetensors") for rank in range(2)]
    assert not set(shards[0]) & set(shards[1])
    assert {f"model.{name.removeprefix('network.')}" for shard in shards for name in shard} == set(alone)
    sizes = [sum(value.numel() for value in shard.values()) for shard in shards]
    assert max(sizes) < 0.7 * sum(sizes)  # one embedding is two thirds of this small network
    with pytest.raises(ResumeRefused, match="made with world_size 2, expected 1"):
        train_pi05(tmp_path / "whole", Runtime(), tmp_path, fit)
