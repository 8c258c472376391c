"""The fit loop: one loss module, batches by number, AdamW, and a resume that ends with the same bits.

Everything random is a function of (seed, step): the batch, the noise (a generator seeded per step) and the learning
rate. What remains (weights, moments, average, torch's own generator) is in every checkpoint. With one thread a run
that was killed anywhere ends with the digest of one that was not, snapshots along the way included. Knows no model and
no data.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recap import faults
from recap.config import semantic_dict
from recap.errors import ConfigError, RecapError, ResumeRefused
from recap.protocols import BatchSource, Journal
from recap.training.checkpoint import Checkpoint, checkpoint_folder, load_checkpoint, save_checkpoint
from recap.training.config import FitConfig
from recap.training.ema import Ema
from recap.training.schedule import learning_rate

_SMOOTHING = 0.98
_GOLDEN = 0x9E3779B97F4A7C15


class LossModule(nn.Module):
    """A network together with its loss, reached through `forward` only: wrappers (DDP, FSDP) sync nothing else."""

    def forward(self, batch: Mapping[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """(scalar loss, {name: scalar} for the journal). All randomness comes from `generator`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What a finished fit says of itself; equal for a resumed and an uninterrupted run."""

    steps: int
    loss: float
    """Smoothed training loss at the end; NaN if no step was taken."""
    parameters: int
    """Numbers trained."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of gradient step `step`: counter-based, so no state runs through training."""
    return torch.Generator().manual_seed((seed * _GOLDEN + step * 2 + 1) % 2**63)


def fit(
    module: LossModule,
    batches: BatchSource,
    config: FitConfig,
    *,
    seed: int,
    scratch: Path,
    journal: Journal,
    fingerprint: Mapping[str, Any] | None = None,
    snapshots: Sequence[int] = (),
    on_snapshot: Callable[[int], None] | None = None,
) -> FitResult:
    """Trains `module` in place and leaves the averaged weights in it.

    Args:
        module: starts with weights that are a pure function of the caller's config.
        batches: batch(step) for step 0 .. steps - 1.
        config: how to optimise.
        seed: of noise and of torch's global generator.
        scratch: where checkpoints lie; survives attempts.
        journal: told progress (steps), loss, learning rate, gradient norm and samples per second.
        fingerprint: what else a resume must agree on (model, data), as plain JSON.
        snapshots: gradient steps taken (0 .. steps) at which `on_snapshot` is called, the module in evaluation mode
            and holding the averaged weights. A checkpoint follows every call: a run that resumes after a snapshot
            has made it, and one killed in between makes the same one again.
        on_snapshot: on_snapshot(step) keeps what it wants of the module; it must not change it.

    Raises:
        ConfigError: snapshots out of range, or without `on_snapshot`.
        ResumeRefused: a checkpoint lies there that does not fit, or lacks a component.
        RecapError: the loss is not finite.
    """
    taken = frozenset(snapshots)
    if taken and (on_snapshot is None or not taken <= set(range(config.steps + 1))):
        raise ConfigError(f"fit: snapshots {sorted(taken)} of {config.steps} steps, expected a callback and 0..steps")
    asked = {"fit": semantic_dict(config), "seed": seed, **(fingerprint or {})}
    if taken:
        asked["snapshots"] = sorted(taken)
    folder = checkpoint_folder(scratch)
    with _threads(config.threads), _settled_objects():
        torch.manual_seed(seed)
        ema = Ema(module, limit=config.ema_decay)
        optimizer = _make_optimizer(module, config)
        figures: dict[str, float] = {}
        start = 0
        saved = load_checkpoint(folder, asked)
        if saved is not None:
            _restore(saved, module, ema, optimizer)
            start, figures = saved.step, dict(saved.figures)
        module.train()
        if start == 0 and 0 in taken and on_snapshot is not None:
            _snapshot(0, module, ema, on_snapshot)
        meter = _Meter(config, journal, start)
        for step in range(start, config.steps):
            rate = learning_rate(
                step,
                steps=config.steps,
                peak=config.learning_rate,
                warmup_steps=config.warmup_steps,
                final_share=config.final_share,
            )
            loss, extra = _one_step(module, batches, optimizer, config, rate, step, seed)
            ema.update(module, step=step)
            previous = figures.get("loss", loss)
            figures["loss"] = _SMOOTHING * previous + (1 - _SMOOTHING) * loss
            meter.tell(step + 1, {"loss": loss, "learning_rate": rate, **extra})
            faults.point("train.step")
            if step + 1 in taken and on_snapshot is not None:
                faults.point("train.before_snapshot")
                _snapshot(step + 1, module, ema, on_snapshot)
                faults.point("train.after_snapshot")
            if step + 1 in taken or (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                save_checkpoint(folder, _capture(step + 1, asked, figures, module, ema, optimizer))
        ema.copy_to(module)
        module.eval()
    parameters = sum(value.numel() for value in module.parameters() if value.requires_grad)
    return FitResult(steps=config.steps, loss=figures.get("loss", math.nan), parameters=parameters)


def _snapshot(step: int, module: LossModule, ema: Ema, on_snapshot: Callable[[int], None]) -> None:
    """Calls `on_snapshot` over the averaged weights and puts everything back, torch's generator included."""
    raw = [value.detach().clone() for value in module.parameters()]
    state = torch.get_rng_state()
    ema.copy_to(module)
    module.eval()
    on_snapshot(step)
    module.train()
    torch.set_rng_state(state)
    with torch.no_grad():
        for value, kept in zip(module.parameters(), raw, strict=True):
            value.copy_(kept)


def _one_step(
    module: LossModule,
    batches: BatchSource,
    optimizer: torch.optim.AdamW,
    config: FitConfig,
    rate: float,
    step: int,
    seed: int,
) -> tuple[float, dict[str, float]]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss, extra = module(batches.batch(step), step_generator(seed, step))
    value = float(loss.detach())
    if not math.isfinite(value):
        raise RecapError(
            f"the loss is {value} at step {step} (learning rate {rate:.2e})",
            hint="lower fit.learning_rate of this training, or look at its loss: recap report",
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
    optimizer.step()
    return value, {"gradient_norm": float(norm), **{name: float(item.detach()) for name, item in extra.items()}}


class _Meter:
    """Turns steps into journal lines."""

    def __init__(self, config: FitConfig, journal: Journal, start: int) -> None:
        self._config, self._journal = config, journal
        self._since, self._at = time.perf_counter(), start

    def tell(self, done: int, values: dict[str, float]) -> None:
        if done % self._config.log_every and done != self._config.steps:
            return
        now = time.perf_counter()
        speed = (done - self._at) / max(now - self._since, 1e-9)
        self._since, self._at = now, done
        self._journal.progress(done, self._config.steps, "steps")
        self._journal.metrics({**values, "steps_per_s": speed}, step=done)


def _make_optimizer(module: nn.Module, config: FitConfig) -> torch.optim.AdamW:
    trained = [value for value in module.parameters() if value.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [value for value in trained if value.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [value for value in trained if value.ndim < 2], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )


def _capture(
    step: int,
    config: Mapping[str, Any],
    figures: Mapping[str, float],
    module: nn.Module,
    ema: Ema,
    optimizer: torch.optim.AdamW,
) -> Checkpoint:
    moments = {
        f"{kind}.{name}": value
        for name, parameter in module.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }
    return Checkpoint(
        step=step,
        config=config,
        figures=figures,
        tensors={
            "model": {name: value.detach() for name, value in module.named_parameters()},
            "ema": ema.shadow,
            "optimizer": moments,
            "rng": {"torch": torch.get_rng_state()},
        },
    )


@torch.no_grad()
def _restore(saved: Checkpoint, module: nn.Module, ema: Ema, optimizer: torch.optim.AdamW) -> None:
    parameters = dict(module.named_parameters())
    for component in ("model", "ema"):
        if set(saved.tensors[component]) != set(parameters):
            odd = sorted(set(saved.tensors[component]) ^ set(parameters))
            raise ResumeRefused(f"checkpoint: {component} and the network differ in {', '.join(odd[:3])}, ...")
    for name, value in saved.tensors["model"].items():
        parameters[name].copy_(value)
    for name, value in saved.tensors["ema"].items():
        ema.shadow[name].copy_(value)
    for full_name, value in saved.tensors["optimizer"].items():
        kind, _, name = full_name.partition(".")
        if value.shape == parameters[name].shape:
            # In the parameter's memory layout: the fused kernel walks both as flat memory.
            value = torch.empty_like(parameters[name]).copy_(value)
        optimizer.state[parameters[name]][kind] = value
    torch.set_rng_state(saved.tensors["rng"]["torch"])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _settled_objects() -> Iterator[None]:
    """Keeps Python's cyclic collector from walking the modules and networks that are there already, step after step."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
