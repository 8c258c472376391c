"""Schedule, moving average and the loop: numbers that can be worked out by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.fakes import MemoryJournal
from torch import Tensor, nn

from recap.errors import ConfigError, RecapError, ResumeRefused
from recap.training.config import FitConfig
from recap.training.ema import Ema, decay_at
from recap.training.fit import LossModule, fit, step_generator
from recap.training.schedule import learning_rate


class Line(LossModule):
    """Fits y = w x to batches of y = 3 x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1))
        self.unused = nn.Parameter(torch.ones(2))

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": batch["x"], "noise": 0.01 * torch.randn(len(batch["x"]), generator=generator)}

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.weight[0, 0] * rows["x"] - 3 * rows["x"] + rows["noise"]).square().mean()
        return loss, {"weight": self.weight[0, 0]}


class Points:
    def __init__(self, spoil_at: int = -1) -> None:
        self.spoil_at = spoil_at
        self.asked: list[int] = []

    def batch(self, step: int) -> dict[str, Tensor]:
        self.asked.append(step)
        x = torch.randn(16, generator=step_generator(9, step))
        return {"x": x * math.nan if step == self.spoil_at else x}


CONFIG = FitConfig(steps=60, learning_rate=0.1, warmup_steps=5, checkpoint_every=20, log_every=10, ema_decay=0.9)


def test_learning_rate_warms_up_and_ends_at_its_share() -> None:
    rates = [learning_rate(s, steps=100, peak=2.0, warmup_steps=10, final_share=0.1) for s in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(0.2)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_short_training_has_a_short_warm_up() -> None:
    assert learning_rate(0, steps=5, peak=1.0, warmup_steps=50, final_share=0.5) == 1.0


def test_average_follows_its_formula() -> None:
    weight = torch.zeros(1)
    ema, expected = Ema({"weight": weight}, limit=0.5), 0.0
    for step, value in enumerate((1.0, 4.0, -2.0, 8.0)):
        weight.fill_(value)
        ema.update(step=step)
        expected = decay_at(step, 0.5) * expected + (1 - decay_at(step, 0.5)) * value
    assert ema.shadow["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert [round(decay_at(step, 0.5), 3) for step in (0, 1, 7, 8, 1000)] == [0.1, 0.182, 0.471, 0.5, 0.5]
    average = ema.shadow["weight"].item()
    ema.swap()
    assert (weight.item(), ema.shadow["weight"].item()) == (average, 8.0)


def test_fit_learns_and_tells_the_journal(tmp_path: Path) -> None:
    journal, source, module = MemoryJournal(), Points(), Line()
    result = fit(module, source, CONFIG, seed=1, scratch=tmp_path, journal=journal)
    assert module.weight.item() == pytest.approx(3.0, abs=0.15)
    assert module.unused.tolist() == [1.0, 1.0]
    assert source.asked == list(range(60))
    assert journal.progressed == [(done, 60, "steps") for done in range(10, 61, 10)]
    assert set(journal.told[-1][1]) == {"loss", "learning_rate", "gradient_norm", "weight", "steps_per_s"}
    assert result.parameters == 3
    assert result.steps == 60


def test_a_run_cut_in_two_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Line()
    expected = fit(whole, Points(), CONFIG, seed=1, scratch=tmp_path / "whole", journal=MemoryJournal())
    monkeypatch.setattr("recap.faults._seen", {})
    monkeypatch.setenv("RECAP_FAULT", "train.step:47:raise")
    with pytest.raises(RuntimeError, match=r"train\.step"):
        fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path / "cut", journal=MemoryJournal())
    monkeypatch.delenv("RECAP_FAULT")
    resumed, source = Line(), Points()
    result = fit(resumed, source, CONFIG, seed=1, scratch=tmp_path / "cut", journal=MemoryJournal())
    assert source.asked == list(range(40, 60))
    assert torch.equal(resumed.weight, whole.weight)
    assert result == expected


class Notes:
    """Keeps the weight that the module holds at every snapshot."""

    def __init__(self, module: Line) -> None:
        self.module = module
        self.seen: list[tuple[int, float, bool]] = []

    def __call__(self, step: int) -> None:
        torch.rand(3)  # a callback that draws must not move training
        self.seen.append((step, self.module.weight.item(), self.module.training))


def test_snapshots_hold_the_average_and_leave_training_alone(tmp_path: Path) -> None:
    plain, module = Line(), Line()
    expected = fit(plain, Points(), CONFIG, seed=1, scratch=tmp_path / "plain", journal=MemoryJournal())
    notes = Notes(module)
    result = fit(
        module, Points(), CONFIG, seed=1, scratch=tmp_path / "noted", journal=MemoryJournal(),
        snapshots=(0, 30, 47, 60), on_snapshot=notes,
    )  # fmt: skip
    assert result == expected
    assert torch.equal(module.weight, plain.weight)
    assert [step for step, _, _ in notes.seen] == [0, 30, 47, 60]
    assert notes.seen[0][1] == 0.0
    assert notes.seen[-1][1] == plain.weight.item()
    assert not any(training for _, _, training in notes.seen)
    # The average, not the weights: those of a run that ends there, whose rates are held equal, agree with it.
    flat = replace(CONFIG, final_share=1.0, warmup_steps=0)
    again, short = Line(), Line()
    kept = Notes(again)
    fit(again, Points(), flat, seed=1, scratch=tmp_path / "a", journal=MemoryJournal(), snapshots=(30,),
        on_snapshot=kept)  # fmt: skip
    fit(short, Points(), replace(flat, steps=30), seed=1, scratch=tmp_path / "b", journal=MemoryJournal())
    assert kept.seen[0][1] == short.weight.item()


@pytest.mark.parametrize(
    ("fault", "again"),
    [
        ("train.before_snapshot:2:raise", [47, 60]),
        ("train.after_snapshot:2:raise", [47, 60]),
        ("train.after_checkpoint:4:raise", [60]),
    ],
)
def test_snapshots_before_the_last_checkpoint_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, again: list[int]
) -> None:
    """Checkpoints lie at 20, 30, 40, 47, 60; a snapshot is repeated only if its checkpoint did not come about."""

    def run(notes: Notes) -> None:
        fit(notes.module, Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal(), snapshots=(30, 47, 60),
            on_snapshot=notes)  # fmt: skip

    monkeypatch.setattr("recap.faults._seen", {})
    monkeypatch.setenv("RECAP_FAULT", fault)
    first, second = Notes(Line()), Notes(Line())
    with pytest.raises(RuntimeError, match="fault injected"):
        run(first)
    monkeypatch.delenv("RECAP_FAULT")
    run(second)
    assert [step for step, _, _ in second.seen] == again
    assert [step for step, _, _ in first.seen] == ([30] if "before" in fault else [30, 47])
    if len(first.seen) == 2 and len(again) == 2:
        assert first.seen[1] == second.seen[0]


def test_snapshots_out_of_range_or_without_callback_are_refused(tmp_path: Path) -> None:
    for snapshots, callback in (((61,), print), ((-1,), print), ((60,), None)):
        with pytest.raises(ConfigError, match="expected a callback"):
            fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal(), snapshots=snapshots,
                on_snapshot=callback)  # fmt: skip


def test_a_resume_with_other_snapshots_is_refused(tmp_path: Path) -> None:
    fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())
    module = Line()
    with pytest.raises(ResumeRefused, match="another snapshots"):
        fit(module, Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal(), snapshots=(60,),
            on_snapshot=Notes(module))  # fmt: skip


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())
    source = Points()
    assert fit(Line(), source, CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal()) == first
    assert source.asked == []


def test_zero_steps_keep_the_starting_weights(tmp_path: Path) -> None:
    module = Line()
    result = fit(module, Points(), FitConfig(steps=0), seed=1, scratch=tmp_path, journal=MemoryJournal())
    assert module.weight.item() == 0.0
    assert math.isnan(result.loss)


@pytest.mark.parametrize("component", ["model", "ema", "optimizer", "rng"])
def test_a_missing_component_is_refused_by_name(tmp_path: Path, component: str) -> None:
    fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())
    (place,) = (tmp_path / "checkpoints").iterdir()
    (place / f"{component}.safetensors").unlink()
    with pytest.raises(ResumeRefused, match=f"lacks {component}"):
        fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())


def test_an_altered_component_is_refused(tmp_path: Path) -> None:
    fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())
    (path,) = (tmp_path / "checkpoints").glob("*/optimizer.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ResumeRefused, match="optimizer is not what was saved"):
        fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())


def test_another_config_or_seed_is_refused_by_name(tmp_path: Path) -> None:
    fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())
    with pytest.raises(ResumeRefused, match="another seed"):
        fit(Line(), Points(), CONFIG, seed=2, scratch=tmp_path, journal=MemoryJournal())
    with pytest.raises(ResumeRefused, match="another data"):
        fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal(), fingerprint={"data": "x"})


def test_how_often_to_checkpoint_may_change(tmp_path: Path) -> None:
    first = fit(Line(), Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())
    other = FitConfig(steps=60, learning_rate=0.1, warmup_steps=5, checkpoint_every=7, log_every=3, ema_decay=0.9)
    assert fit(Line(), Points(), other, seed=1, scratch=tmp_path, journal=MemoryJournal()) == first


def test_a_loss_that_is_not_finite_stops_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(RecapError, match="loss is nan at step 13"):
        fit(Line(), Points(spoil_at=13), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())


class Kink(Line):
    """A finite loss whose gradient is not: a root at 0."""

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.weight.square().sum().sqrt(), {}


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path: Path) -> None:
    module = Kink()
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    with pytest.raises(RecapError, match="gradient has norm nan at step 0"):
        fit(module, Points(), CONFIG, seed=1, scratch=tmp_path, journal=MemoryJournal())
    assert all(torch.equal(value, before[name]) for name, value in module.named_parameters())


def test_noise_of_a_step_depends_on_seed_and_step_only() -> None:
    draw = {(s, i): torch.rand(1, generator=step_generator(s, i)).item() for s in range(3) for i in range(50)}
    assert draw[1, 7] == torch.rand(1, generator=step_generator(1, 7)).item()
    assert len(set(draw.values())) == len(draw)


class Picture(LossModule):
    """A convolution in channels-last memory: its moments must come back in that layout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        return {"image": torch.randn(2, 3, 5, 5, generator=generator)}

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        image = rows["image"]
        return (self.conv(image) - image.mean()).square().mean(), {}


def test_resume_is_exact_for_weights_in_channels_last_memory(tmp_path: Path) -> None:
    whole, cut = Picture(), Picture()
    fit(whole, Points(), CONFIG, seed=1, scratch=tmp_path / "whole", journal=MemoryJournal())
    folder = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recap.faults._seen", {})
        patch.setenv("RECAP_FAULT", "train.step:25:raise")
        with pytest.raises(RuntimeError, match=r"train\.step"):
            fit(Picture(), Points(), CONFIG, seed=1, scratch=folder, journal=MemoryJournal())
    fit(cut, Points(), CONFIG, seed=1, scratch=folder, journal=MemoryJournal())
    assert torch.equal(whole.conv.weight, cut.conv.weight)
