"""What a runtime changes of a training, and what it must not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import MemoryJournal
from torch import Tensor, nn

from recap.errors import ConfigError, ResumeRefused
from recap.training.config import FitConfig, RuntimeConfig
from recap.training.fit import LossModule, fit, step_generator
from recap.training.runtime import Runtime

CONFIG = FitConfig(steps=6, learning_rate=0.01, checkpoint_every=2)


class Weighted(LossModule):
    """A linear map whose samples count by the number of their valid entries."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(6, 3)

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        rows = super().prepare(batch, generator)
        return {**rows, "noise": torch.randn(len(rows["x"]), 3, generator=generator)}

    def row_weights(self, rows: Mapping[str, Tensor]) -> Tensor:
        return rows["valid"].sum(1)

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        errors = (self.map(rows["x"]) - rows["noise"]).square()
        loss = errors[rows["valid"]].mean()
        return loss, {"twice": 2 * loss}


class Batches:
    """Seven samples with one to three valid entries."""

    def batch(self, step: int) -> dict[str, Any]:
        generator = step_generator(7, step)
        count = torch.randint(1, 4, (7, 1), generator=generator)
        return {"x": torch.randn(7, 6, generator=generator).numpy(), "valid": (torch.arange(3) < count).numpy()}


def trained(folder: Path, runtime: Runtime, journal: MemoryJournal | None = None) -> Weighted:
    module = Weighted()
    fit(module, Batches(), CONFIG, seed=1, scratch=folder, journal=journal or MemoryJournal(), runtime=runtime)
    return module


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 7, 100])
def test_micro_batches_add_up_to_the_whole(tmp_path: Path, micro_batch: int) -> None:
    """Weights and figures, although the pieces weigh differently."""
    told = [MemoryJournal(), MemoryJournal()]
    whole = trained(tmp_path / "whole", Runtime(), told[0])
    parts = trained(tmp_path / "parts", Runtime(micro_batch=micro_batch), told[1])
    torch.testing.assert_close(parts.map.weight, whole.map.weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(parts.map.weight, whole.map.weight) or micro_batch < 7
    for name in ("loss", "twice"):
        assert told[1].told[-1][1][name] == pytest.approx(told[0].told[-1][1][name], rel=1e-5)


def test_bfloat16_changes_the_result_a_little_and_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    whole, rounded = trained(tmp_path / "a", Runtime()), trained(tmp_path / "b", Runtime(dtype="bfloat16"))
    assert rounded.map.weight.dtype == torch.float32
    assert not torch.equal(rounded.map.weight, whole.map.weight)
    torch.testing.assert_close(rounded.map.weight, whole.map.weight, rtol=0.05, atol=0.01)
    with pytest.raises(ResumeRefused, match=r"another dtype: got \['bfloat16'\], expected \['float32'\]"):
        trained(tmp_path / "b", Runtime())


def test_another_micro_batch_may_go_on(tmp_path: Path) -> None:
    first = trained(tmp_path, Runtime())
    assert torch.equal(trained(tmp_path, Runtime(micro_batch=2)).map.weight, first.map.weight)


def test_another_number_of_processes_may_not(tmp_path: Path) -> None:
    trained(tmp_path, Runtime())
    with pytest.raises(ResumeRefused, match=r"made with world_size 1, expected 2(.|\n)*go on with 1 processes"):
        trained(tmp_path, Runtime(world_size=2))


@given(count=st.integers(1, 60), world_size=st.integers(1, 9), micro_batch=st.integers(0, 9))
def test_the_pieces_of_all_ranks_are_the_batch(count: int, world_size: int, micro_batch: int) -> None:
    ranks = [Runtime(rank=rank, world_size=world_size, micro_batch=micro_batch) for rank in range(world_size)]
    if count < world_size:
        with pytest.raises(ConfigError, match=f"{count} samples for {world_size} processes"):
            ranks[0].pieces(count)
        return
    pieces = [[row for piece in rank.pieces(count) for row in range(count)[piece]] for rank in ranks]
    assert [row for rows in pieces for row in rows] == list(range(count))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
    if micro_batch:
        assert all(len(range(count)[piece]) <= micro_batch for rank in ranks for piece in rank.pieces(count))


@given(sizes=st.lists(st.integers(1, 1000), max_size=30), world_size=st.integers(1, 5))
def test_every_tensor_has_one_owner_and_loads_are_even(sizes: list[int], world_size: int) -> None:
    named = {f"p{index}": size for index, size in enumerate(sizes)}
    shards = [Runtime(rank=rank, world_size=world_size).owned(named) for rank in range(world_size)]
    assert sorted(name for shard in shards for name in shard) == sorted(named)
    loads = [sum(named[name] for name in shard) for shard in shards]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@pytest.mark.parametrize(("device", "got"), [("gpu", "knows no such device"), ("cuda:99", "sees [0-9]+")])
def test_a_device_that_is_not_here_is_refused(device: str, got: str) -> None:
    with pytest.raises(ConfigError, match=rf"runtime.device = {device}: .*{got}(.|\n)*runtime.device=cpu"):
        Runtime(device=device).place(nn.Linear(1, 1))


def test_only_the_number_format_is_semantic() -> None:
    from recap.config import semantic_dict

    assert semantic_dict(RuntimeConfig(device="cuda", micro_batch=3)) == {"dtype": "float32"}
    settings = RuntimeConfig(dtype="bfloat16", micro_batch=4)
    assert Runtime.of(settings, rank=1, world_size=2) == Runtime(dtype="bfloat16", micro_batch=4, rank=1, world_size=2)
