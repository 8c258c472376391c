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
from recap.training.recompute import Run, at_once, run_layers, way_of
from recap.training.runtime import CPU, Runtime
from recap.training.schedule import learning_rate
from recap.training.sharding import full, local, make_whole, shard, whole

_SMOOTHING = 0.98
_GOLDEN = 0x9E3779B97F4A7C15


class LossModule(nn.Module):
    """A network together with its loss: `prepare` on the CPU, then `forward` on the device, on all or some rows.

    `forward` is the only way from parameters to the loss. All tensors between the two have one row per sample.
    """

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """The whole batch as CPU tensors, with everything random that its loss needs, drawn from `generator`.

        Drawn here for all rows, noise depends neither on the device nor on how the rows are divided.
        """
        del generator
        return {name: torch.as_tensor(value) for name, value in batch.items()}

    def layers(self) -> Sequence[nn.Module]:
        """Parts of its networks that are called through their own `forward` alone; none of a network that is shallow.

        Several ranks put them together one by one, and what belongs to none of them whole for the length of a step.
        """
        return ()

    def run_layers(self, run: Run) -> None:
        """Has `run` call the layers of its networks from now on."""
        run_layers(self.layers(), run)

    def row_weights(self, rows: Mapping[str, Tensor]) -> Tensor:
        """[B] how much each prepared row counts in the mean that `forward` gives; by default all alike."""
        return torch.ones(len(next(iter(rows.values()))))

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss, {name: figure for the journal}) of prepared rows; scalars, means over the rows by their weight."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What a finished fit says of itself; equal for a resumed and an uninterrupted run."""

    steps: int
    loss: float
    """Smoothed training loss at the end; NaN if no step was taken."""
    parameters: int
    """Numbers trained."""

    @property
    def figures(self) -> dict[str, float]:
        """Steps, parameters, and the loss if a step was taken."""
        figures = {"steps": float(self.steps), "parameters": float(self.parameters)}
        return figures if self.steps == 0 else {**figures, "loss": self.loss}


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
    runtime: Runtime = CPU,
    fingerprint: Mapping[str, Any] | None = None,
    snapshots: Sequence[int] = (),
    on_snapshot: Callable[[int], None] | None = None,
) -> FitResult:
    """Trains `module` in place and leaves the averaged weights in it; of several ranks, in that of rank 0.

    Args:
        module: starts with weights that are a pure function of the caller's config.
        batches: batch(step) for step 0 .. steps - 1.
        config: how to optimise.
        seed: of noise and of torch's global generator.
        scratch: where checkpoints lie; survives attempts.
        journal: told progress (steps), loss, learning rate, gradient norm and steps per second, by rank 0.
        runtime: where to compute. With several ranks every one of them calls `fit` with the same arguments.
        fingerprint: what else a resume must agree on (model, data), as plain JSON.
        snapshots: gradient steps taken (0 .. steps) at which `on_snapshot` is called, the module in evaluation mode
            and holding the averaged weights. A checkpoint follows every call: a run that resumes after a snapshot
            has made it, and one killed in between makes the same one again.
        on_snapshot: on_snapshot(step) keeps what it wants of the module; it must not change it. Called on rank 0.

    Raises:
        ConfigError: snapshots out of range, or without `on_snapshot`; no such device; fewer samples than ranks.
        ResumeRefused: a checkpoint lies there that does not fit, or lacks a component.
        RecapError: the loss is not finite.
    """
    taken = frozenset(snapshots)
    if taken and (on_snapshot is None or not taken <= set(range(config.steps + 1))):
        raise ConfigError(f"fit: snapshots {sorted(taken)} of {config.steps} steps, expected a callback and 0..steps")
    asked = {"fit": semantic_dict(config), "seed": seed, "dtype": runtime.dtype, **(fingerprint or {})}
    if taken:
        asked["snapshots"] = sorted(taken)
    folder = checkpoint_folder(scratch)
    with _threads(config.threads), _settled_objects():
        torch.manual_seed(seed)
        training = _Training(module, config, runtime)
        figures: dict[str, float] = {}
        start = 0
        saved = load_checkpoint(folder, asked, runtime)
        if saved is not None:
            training.restore(saved.tensors)
            start, figures = saved.step, dict(saved.figures)
        module.train()
        if start == 0 and 0 in taken and on_snapshot is not None:
            training.snapshot(0, on_snapshot)
        meter = _Meter(config, journal, start)
        for step in range(start, config.steps):
            rate = learning_rate(
                step,
                steps=config.steps,
                peak=config.learning_rate,
                warmup_steps=config.warmup_steps,
                final_share=config.final_share,
            )
            told = training.step(batches.batch(step), step, rate, seed)
            figures["loss"] = _SMOOTHING * figures.get("loss", told["loss"]) + (1 - _SMOOTHING) * told["loss"]
            if runtime.rank == 0:
                meter.tell(step + 1, {"learning_rate": rate, **told})
            faults.point("train.step")
            if step + 1 in taken and on_snapshot is not None:
                faults.point("train.before_snapshot")
                training.snapshot(step + 1, on_snapshot)
                faults.point("train.after_snapshot")
            if step + 1 in taken or (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                kept = Checkpoint(step=step + 1, config=asked, figures=figures, tensors=training.capture())
                save_checkpoint(folder, kept, runtime)
        training.ema.swap()
        if way_of(runtime) is not at_once:
            module.run_layers(at_once)
        make_whole(module, runtime)
        module.eval()
    parameters = sum(value.numel() for value in training.parameters.values())
    return FitResult(steps=config.steps, loss=figures.get("loss", math.nan), parameters=parameters)


class _Training:
    """The state between two gradient steps; of several ranks, each holds its rows of every tensor."""

    def __init__(self, module: LossModule, config: FitConfig, runtime: Runtime) -> None:
        self.module, self.config, self.runtime = module, config, runtime
        shard(module, module.layers(), runtime)
        if (way := way_of(runtime)) is not at_once:
            module.run_layers(way)
        self.parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.ema = Ema({name: local(value.detach()) for name, value in self.parameters.items()}, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [v for v in self.parameters.values() if v.ndim >= 2], "weight_decay": config.weight_decay},
                {"params": [v for v in self.parameters.values() if v.ndim < 2], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, config.beta2),
            fused=True,
        )

    def step(self, batch: Mapping[str, Any], step: int, rate: float, seed: int) -> dict[str, float]:
        """Takes one gradient step; loss, gradient norm and what else the loss tells of."""
        told = self.gradients(self.module.prepare(batch, step_generator(seed, step)))
        if not math.isfinite(told["loss"]):
            raise RecapError(
                f"the loss is {told['loss']} at step {step} (learning rate {rate:.2e})",
                hint="lower fit.learning_rate of this training, or look at its loss: recap report",
            )
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip_norm)
        told["gradient_norm"] = float(full(norm))
        # Scaled to the norm they should have, gradients of an infinite one would make every weight nan.
        if not math.isfinite(told["gradient_norm"]):
            raise RecapError(
                f"the gradient has norm {told['gradient_norm']} at step {step} (learning rate {rate:.2e})",
                hint="lower fit.learning_rate of this training, or look at its loss: recap report",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.ema.update(step=step)
        return told

    def gradients(self, prepared: Mapping[str, Tensor]) -> dict[str, float]:
        """Fills every gradient from the whole batch, all ranks' rows; the loss and its figures."""
        runtime = self.runtime
        for value in self.parameters.values():
            value.grad = None
        weight = self.module.row_weights(prepared).double()
        told: dict[str, float] = {}
        pieces = runtime.pieces(len(weight))
        for piece in pieces:
            share = float(weight[piece].sum() / weight.sum())
            # Ranks put layers together with each other: one without rows passes too, over rows that count nothing.
            rows = piece if piece.start < piece.stop else pieces[0]
            with runtime.autocast():
                loss, extra = self.module({name: runtime.move(value[rows]) for name, value in prepared.items()})
            (loss * share).backward()
            for name, item in {"loss": loss, **extra}.items():
                told[name] = told.get(name, 0.0) + share * float(item.detach())
        if runtime.world_size == 1:
            return told
        figures = torch.tensor(list(told.values()), device=runtime.device, dtype=torch.float64)
        runtime.add(figures)
        return dict(zip(told, figures.tolist(), strict=True))

    def snapshot(self, step: int, on_snapshot: Callable[[int], None]) -> None:
        """Calls `on_snapshot` over the averaged weights and puts everything back, torch's generator included."""
        state = torch.get_rng_state()
        self.ema.swap()
        self.module.eval()
        with whole(self.module, self.runtime):
            if self.runtime.rank == 0:
                on_snapshot(step)
            self.runtime.barrier()
        self.module.train()
        self.ema.swap()
        torch.set_rng_state(state)

    def capture(self) -> dict[str, dict[str, Tensor]]:
        """The components of a checkpoint."""
        return {
            "model": {name: local(value.detach()) for name, value in self.parameters.items()},
            "ema": self.ema.shadow,
            "optimizer": {
                f"{kind}.{name}": local(value)
                for name, parameter in self.parameters.items()
                for kind, value in self.optimizer.state.get(parameter, {}).items()
            },
            "rng": {"torch": torch.get_rng_state()},
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The inverse of `capture`."""
        for component in ("model", "ema"):
            if odd := sorted(set(tensors[component]) ^ set(self.parameters)):
                raise ResumeRefused(f"checkpoint: {component} and the network differ in {', '.join(odd[:3])}, ...")
        for name, value in self.parameters.items():
            local(value).copy_(tensors["model"][name])
            self.ema.shadow[name].copy_(tensors["ema"][name])
        for full_name, saved in tensors["optimizer"].items():
            kind, _, name = full_name.partition(".")
            parameter = self.parameters[name]
            # In the parameter's memory layout: the fused kernel walks both as flat memory.
            like = parameter if saved.ndim else torch.empty_like(saved, device=local(parameter).device)
            state = torch.empty_like(like)
            local(state).copy_(saved)
            self.optimizer.state[parameter][kind] = state
        torch.set_rng_state(tensors["rng"]["torch"])


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
    frozen_by_others = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen_by_others:
            gc.unfreeze()
