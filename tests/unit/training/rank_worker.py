"""One rank of a training, for test_ranks.py: `python rank_worker.py JOB RANK WORLD_SIZE HOST:PORT FOLDER`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import recap.faults
from recap.training import fit as fit_loop
from recap.training.config import FitConfig
from recap.training.runtime import Runtime, joined
from recap.training.sharding import full

SEED = 3


def train_gigabrain0(folder: Path, runtime: Runtime, data: Path, fit: FitConfig) -> None:
    """As pi05, with words alone."""
    from tests.support.policies import train_synthetic

    from policy.conditioning import POSITIVE
    from policy.models.gigabrain0.config import tiny_preset

    del data
    config = replace(tiny_preset(steps=1, fine=False), fit=fit)
    train_synthetic("gigabrain0", config, folder, condition=POSITIVE, seed=SEED, runtime=runtime, weighted=True)


def train_pi05(folder: Path, runtime: Runtime, data: Path, fit: FitConfig) -> None:
    """Chunks of different lengths and mixed prompts: rows weigh differently and are padded differently."""
    from tests.support.policies import train_synthetic

    from policy.conditioning import POSITIVE
    from policy.flow.config import LoraConfig
    from policy.models.pi05.config import tiny_config
    from policy.models.pi05.sizes import tiny

    del data
    # Adapters where frozen matrices are kept in half: parts of several formats are divided together.
    lora = LoraConfig(rank=4 if runtime.dtype == "bfloat16" else 0)
    config = tiny_config(fit=fit, network=replace(tiny(), condition="both"), lora=lora)
    train_synthetic("pi05", config, folder, condition=POSITIVE, seed=SEED, runtime=runtime, weighted=True)


def train_value(name: str, folder: Path, runtime: Runtime, data: Path, fit: FitConfig) -> None:
    """Images are shifted, so that the order of draws matters."""
    import numpy as np
    from tests.support.fakes import MemoryJournal
    from tests.support.values import synthetic_values

    from value_model.models import VALUE_MODELS

    with runtime.first_rank_first():
        values = synthetic_values(data)
    family = VALUE_MODELS.get(name)
    family.train(
        replace(family.presets["tiny"](steps=1), fit=fit), values, np.array([0, 1]), seed=SEED,
        scratch=folder / "scratch", out=folder / "bundle", journal=MemoryJournal(), data_identity="synthetic",
        runtime=runtime,
    )  # fmt: skip


MODULES = {
    "viva": "value_model.models.viva.train",
    "vlm": "value_model.direct",
    "cnn": "value_model.direct",
    "steam": "value_model.models.steam.train",
    "pi05": "policy.flow.train",
    "gigabrain0": "policy.flow.train",
}
"""{family: the module that calls `fit`}."""
TRAIN: dict[str, Callable[[Path, Runtime, Path, FitConfig], None]] = {
    **{name: partial(train_value, name) for name in MODULES},
    "pi05": train_pi05,
    "gigabrain0": train_gigabrain0,
}


class Stop(BaseException):
    """Ends a training after its first gradients."""


def gradients(family: str, folder: Path, runtime: Runtime) -> dict[str, torch.Tensor]:
    """The gradients of the first batch, as `fit` computes them, and the loss."""
    found: dict[str, torch.Tensor] = {}

    def first_step(module: Any, batches: Any, config: Any, *, seed: int, **rest: Any) -> None:
        training = fit_loop._Training(module, config, rest["runtime"])
        told = training.gradients(module.prepare(batches.batch(0), fit_loop.step_generator(seed, 0)))
        reached = {name: value.grad for name, value in training.parameters.items() if value.grad is not None}
        found.update({name: full(value).contiguous() for name, value in reached.items()})
        found["loss"] = torch.tensor(told["loss"])
        raise Stop

    trainer = importlib.import_module(MODULES[family])
    before, trainer.fit = trainer.fit, first_step  # type: ignore[attr-defined]
    try:
        TRAIN[family](folder, runtime, folder / "data", FitConfig(steps=1))
    except Stop:
        pass
    finally:
        trainer.fit = before  # type: ignore[attr-defined]
    return found


FIT = FitConfig(steps=8, checkpoint_every=3)


def train_twice(folder: Path, runtime: Runtime) -> None:
    """An uninterrupted training in `folder`/whole, and one that dies after step 5 and goes on in `folder`/cut."""
    train_pi05(folder / "whole", runtime, folder, FIT)
    train_part(folder, runtime)
    train_pi05(folder / "cut", runtime, folder, FIT)


def train_part(folder: Path, runtime: Runtime) -> None:
    """A training in `folder`/cut that dies after step 5, its checkpoint of step 3 behind it."""
    recap.faults._seen.clear()
    os.environ["RECAP_FAULT"] = "train.step:5:raise"
    try:
        train_pi05(folder / "cut", runtime, folder, FIT)
    except RuntimeError as error:
        assert "fault injected" in str(error), error  # noqa: PT017
    else:
        raise AssertionError("the training did not die")
    del os.environ["RECAP_FAULT"]


def go_on(folder: Path, runtime: Runtime) -> None:
    """Goes on in `folder`/cut."""
    train_pi05(folder / "cut", runtime, folder, FIT)


JOBS = {"train_twice": train_twice, "train_part": train_part, "go_on": go_on}


def main() -> None:
    job, rank, world_size, address, folder = sys.argv[1:]
    torch.set_num_threads(1)
    job, _, how = job.partition("+")
    runtime = Runtime(
        rank=int(rank), world_size=int(world_size), micro_batch=3,
        recompute=how == "recompute", dtype="bfloat16" if how == "lora" else "float32",
    )  # fmt: skip
    with joined(runtime, address, timeout_s=120):
        if job in JOBS:
            JOBS[job](Path(folder), runtime)
        else:
            save_file(gradients(job, Path(folder), runtime), Path(folder) / f"gradients-{rank}.safetensors")


if __name__ == "__main__":
    main()
    # Gloo's threads may still let go of tensors, and one that does while Python ends aborts the process.
    sys.stderr.flush()
    os._exit(0)
