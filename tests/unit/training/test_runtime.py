"""What a runtime changes of a training, and what it must not."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.support.fakes import MemoryJournal
from torch import Tensor, nn

from recap.errors import ConfigError, ResumeRefused
from recap.protocols import Place
from recap.training import checkpoint
from recap.training.config import FitConfig, RuntimeConfig
from recap.training.fit import LossModule, fit, step_generator
from recap.training.runtime import Runtime

RANKS = st.integers(1, 5)
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
    assert len({len(rank.pieces(count)) for rank in ranks}) == 1  # a rank that passed once more would wait for ever


@given(
    shapes=st.lists(st.lists(st.integers(1, 7), max_size=3), max_size=5), was=st.integers(1, 5), now=st.integers(1, 5)
)
def test_a_checkpoint_of_some_ranks_is_read_by_any_number(shapes: list[list[int]], was: int, now: int) -> None:
    tensors = {f"p{index}": torch.randn(shape) for index, shape in enumerate(shapes)}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, str(rank)) for rank in range(was)]
        for rank, file in enumerate(files):
            save_file(divided(tensors, rank, was), file)
        for rank in range(now):
            found = checkpoint._rows(files, Runtime(rank=rank, world_size=now), equal=False)
            expected = divided(tensors, rank, now)
            assert set(found) == set(expected)
            assert all(torch.equal(found[name], value) for name, value in expected.items())


def divided(tensors: Mapping[str, Tensor], rank: int, world_size: int) -> dict[str, Tensor]:
    """A rank's part of each, as FSDP2 has it: torch.chunk leaves the last ranks without rows."""
    parts = {name: value.chunk(world_size) if value.ndim else [value] * world_size for name, value in tensors.items()}
    return {
        name: (chunks[rank] if rank < len(chunks) else tensors[name][:0]).contiguous() for name, chunks in parts.items()
    }


@pytest.mark.parametrize(("device", "got"), [("gpu", "knows no such device"), ("cuda:99", "sees [0-9]+")])
def test_a_device_that_is_not_here_is_refused(device: str, got: str) -> None:
    with pytest.raises(ConfigError, match=rf"runtime.device = {device}: .*{got}(.|\n)*runtime.device=cpu"):
        Runtime(device=device).place(nn.Linear(1, 1))


def test_only_the_number_format_is_semantic() -> None:
    from recap.config import semantic_dict

    assert semantic_dict(RuntimeConfig(device="cuda", micro_batch=3)) == {"dtype": "float32"}
    settings = RuntimeConfig(dtype="bfloat16", micro_batch=4)
    place = Place(rank=1, world_size=2, local_rank=1, address="127.0.0.1:1")
    assert Runtime.of(settings, place) == Runtime(dtype="bfloat16", micro_batch=4, rank=1, world_size=2)


@pytest.mark.parametrize(("seen", "device"), [(1, "cuda:0"), (4, "cuda:1")])
def test_every_rank_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch, seen: int, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    place = Place(rank=3, world_size=4, local_rank=1, address="127.0.0.1:1")
    assert Runtime.of(RuntimeConfig(device="cuda", processes=4), place).device == device
