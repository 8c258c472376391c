"""benchmarks/gpu.py works where there is no card, and a part that fails does not take the others with it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


@pytest.mark.slow
def test_one_part_alone_ends_in_one_line_of_json() -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--part", "memory_vs_estimate"]
    no_card = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=no_card)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures == {"device": "cpu", "sizes": "tiny", "memory_vs_estimate": None, "errors": {}}


def test_a_part_without_memory_is_null_and_the_others_are_not(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacks(bench: object) -> float:
        raise torch.OutOfMemoryError("tried to allocate 12.50 GiB")

    monkeypatch.setitem(gpu.PARTS, "act_vs_lerobot", lacks)
    monkeypatch.setitem(gpu.PARTS, "utilisation", lambda bench: 0.5)
    figures, errors = gpu.measure(None, ["act_vs_lerobot", "utilisation"])
    assert figures == {"act_vs_lerobot": None, "utilisation": 0.5}
    assert errors == {"act_vs_lerobot": "OutOfMemoryError: tried to allocate 12.50 GiB"}
    assert "act_vs_lerobot is null: OutOfMemoryError: tried to allocate 12.50 GiB" in capsys.readouterr().out


def test_a_card_is_busy_while_any_kernel_runs(gpu: ModuleType) -> None:
    def event(name: str, start: int, end: int, device: DeviceType = DeviceType.CUDA, said: bool = False) -> object:
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(name=name, time_range=span, device_type=device, is_user_annotation=said)

    events = [
        event("gemm", 2_000_000, 3_000_000),
        event("gemm", 0, 1_000_000),
        event("softmax", 500_000, 1_500_000),
        event("add", 600_000, 700_000),
        event("Memcpy HtoD", 4_000_000, 5_000_000),
        event("Optimizer.step#AdamW.step", 0, 9_000_000, said=True),
        event("cudaLaunchKernel", 6_000_000, 7_000_000, DeviceType.CPU),
    ]
    assert gpu.busy_seconds(events) == pytest.approx(2.5)


def test_other_figures_are_no_rounding(gpu: ModuleType) -> None:
    gpu.check_equal("loss", [1.0, 2.0], [1.0, 2.001])
    for wrong in (2.01, float("nan")):
        with pytest.raises(AssertionError, match="loss"):
            gpu.check_equal("loss", [1.0, 2.0], [1.0, wrong])
