"""Two processes that train together over Gloo, on the loopback: what one process would have found."""

from __future__ import annotations

import json
import os
import shutil
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
        pytest.param("pi05+lora", marks=pytest.mark.slow),
        pytest.param("gigabrain0", marks=pytest.mark.slow),
        pytest.param("viva+recompute", marks=pytest.mark.slow),
        pytest.param("viva", marks=pytest.mark.slow),
        pytest.param("steam", marks=pytest.mark.slow),
        pytest.param("vlm", marks=pytest.mark.slow),
        pytest.param("vlm+recompute", marks=pytest.mark.slow),
        pytest.param("cnn", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_two_ranks_are_those_of_one_process(family: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    name, _, how = family.partition("+")
    expected = gradients(name, tmp_path / "one", Runtime(dtype="bfloat16" if how == "lora" else "float32"))
    run_ranks(family, tmp_path / "two")
    largest = max(float(value.abs().max()) for value in expected.values())
    assert largest > 1e-2  # the comparison below means something
    for rank in range(2):
        found = load_file(tmp_path / "two" / f"gradients-{rank}.safetensors")
        assert set(found) == set(expected)
        for name, value in expected.items():
            # Sums of another order: small gradients differ by the rounding of the larger ones that they are sums of.
            rounding = 5e-3 if how == "lora" else 2e-5  # in half every product is rounded, rows by rows
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=max(1e-6, rounding * largest))


@pytest.fixture(scope="module")
def trained_twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks have trained: without a break in whole/, with one in cut/."""
    folder = tmp_path_factory.mktemp("twice")
    run_ranks("train_twice", folder)
    return folder


def test_two_ranks_train_and_resume_with_the_same_bits(trained_twice: Path, tmp_path: Path) -> None:
    whole, cut = (last_candidate(trained_twice / name) for name in ("whole", "cut"))
    assert digest_tree(whole) == digest_tree(cut)  # a resume goes on with the same bits
    fit = FitConfig(steps=8, checkpoint_every=3)
    train_pi05(tmp_path / "one", Runtime(), tmp_path, fit)
    alone, together = (load_file(one / "model.safetensors") for one in (last_candidate(tmp_path / "one"), whole))
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4)
    (place,) = (trained_twice / "whole" / "scratch" / "checkpoints").iterdir()
    parts = [load_file(place / f"model-{rank}-of-2.safetensors") for rank in range(2)]
    for name, value in alone.items():
        own = [part[f"network.{name.removeprefix('model.')}"] for part in parts]
        assert sum(len(one) for one in own) == len(value)
        assert len(own[0]) - len(own[1]) in (0, 1)


@pytest.mark.slow
def test_a_training_of_two_goes_on_with_one_process_and_with_three(tmp_path: Path) -> None:
    run_ranks("train_part", tmp_path)
    fit = FitConfig(steps=8, checkpoint_every=3)
    train_pi05(tmp_path / "alone", Runtime(), tmp_path, fit)
    shutil.copytree(tmp_path / "cut", tmp_path / "three" / "cut")
    train_pi05(tmp_path / "cut", Runtime(), tmp_path, fit)  # goes on after step 3
    run_ranks("go_on", tmp_path / "three", world_size=3)
    whole, *others = (
        load_file(last_candidate(tmp_path / name) / "model.safetensors") for name in ("alone", "cut", "three/cut")
    )
    for other in others:
        for name, value in whole.items():
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)
    # And of three processes, whose rows are divided anew, what one had written.
    (place,) = (tmp_path / "three" / "cut" / "scratch" / "checkpoints").iterdir()
    assert len(json.loads((place / "manifest.json").read_bytes())["shards"]) == 3


def test_a_checkpoint_divided_in_another_way_is_refused(trained_twice: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_twice / "whole", tmp_path / "cut")
    (place,) = (tmp_path / "cut" / "scratch" / "checkpoints").iterdir()
    manifest = json.loads((place / "manifest.json").read_bytes())
    del manifest["divided"]
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResumeRefused, match="of 2 processes is divided by None, expected by rows"):
        train_pi05(tmp_path / "cut", Runtime(), tmp_path, FitConfig(steps=8, checkpoint_every=3))
