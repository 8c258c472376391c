"""Published sizes on a CUDA card: against LeRobot's pi0.5, against one frame at a time, idle time and memory.

    python benchmarks/gpu.py [--rounds 5] [--part NAME]

On a card: pi0.5, Wan2.2-TI2V-5B and its autoencoder in full size, wall time. Without one the same code runs tiny
networks in the published layout and counts the CPU time of one thread (other load then counts for neither side).
Weights are random and float32, matrix products bfloat16 (autocast), on both sides. Figures are medians; sides that are
said to compute the same are checked in float32 before anything is timed.

pi05_step_vs_lerobot      LeRobot's training step / ours, frames to AdamW: same micro-batches, one (time, noise) draw
act_vs_lerobot            our latency of one observation / LeRobot's, frames to actions; LeRobot also acts with its own
                          bfloat16 weights, and the worse ratio counts
label_vs_frame_at_a_time  ViVa on kept latents in batches of runtime.label_batch, against the loop of label.py
utilisation               of `fit` training pi0.5 from packed frames. On a card the share of wall time in which a kernel
                          runs (torch.profiler, copies not counted). On the CPU the time of steps whose batches and
                          noise were made ahead / the time of real ones
memory_vs_estimate        torch's peak of that training on the card / recap.training.needs; null on the CPU

A part that fails is null and does not stop the others; the exit code is then 1, unless it only lacked memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import checkout  # noqa: F401
import label
import numpy as np
import torch
from act import LeRobotPi05, medians, stepper
from published import Bench, draw
from tests.support.fakes import MemoryJournal
from tests.support.policies import CAMERAS, TASK, make_observation
from torch import Tensor
from torch.autograd import DeviceType

from policy.flow.acting import FlowActor
from policy.flow.acting import load_policy as load_actor
from policy.flow.learner import FlowLearner
from policy.models.pi05.network import Pi05Network
from recap.training.config import FitConfig
from recap.training.fit import fit, step_generator
from value_model.models import ValueData
from value_model.models.viva.bundle import Parts
from value_model.models.viva.encoder import WanVaeEncoder
from value_model.models.viva.frames import Layout, StateRange
from value_model.models.viva.label import Viva
from value_model.models.viva.model import build_transformer

FEW, WARM_STEPS, GIB = 4, 2, 2**30
TOLERANCE = 1e-3
"""Largest difference in float32, of the largest figure: sums of another order through tens of layers."""
exactly = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)


def check_equal(what: str, ours: Any, theirs: Any) -> None:
    """Raises AssertionError unless two arrays of figures differ by rounding alone."""
    apart = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max())
    assert apart < TOLERANCE, f"{what}: {apart:.1e} apart in float32, expected less than {TOLERANCE}"
    print(f"{what}: at most {apart:.1e} apart in float32")


def show(title: str, seconds: Mapping[str, float], per: str = "", items: int = 0) -> None:
    """A table of what each side takes, and with `items` how many it does a second."""
    print(title)
    for name, taken in seconds.items():
        print(f"  {name:32}{1e3 * taken:10.2f} ms{f'{items / taken:12.1f} {per}/s' if items else ''}")


def clear() -> None:
    """Frees what nobody holds any more."""
    gc.collect()
    torch.cuda.empty_cache()


def time_step(bench: Bench) -> float:
    runtime, count, learner = bench.runtime, bench.policy.batch_size, bench.learner()
    lerobot = LeRobotPi05(bench.bundle, runtime.device)
    lerobot.model.train()
    # LeRobot trains on the actions past the end of an episode, recap does not.
    batch = {**bench.batches.batch(0), "action_is_pad": np.zeros((count, bench.policy.chunk), np.bool_)}
    check_losses(bench, learner, lerobot, {name: value[:FEW] for name, value in batch.items()})
    pieces = runtime.pieces(count)

    def ours() -> Iterator[Tensor]:
        prepared = learner.prepare(batch, step_generator(0, 0))
        for piece in pieces:
            with runtime.autocast():
                loss = learner({name: runtime.move(value[piece]) for name, value in prepared.items()})[0]
            yield loss * ((piece.stop - piece.start) / count)

    def theirs() -> Iterator[Tensor]:
        losses = lerobot.losses(batch, pieces)
        for _ in pieces:
            with runtime.autocast():
                loss = next(losses)
            yield loss

    sides = {"LeRobot": (lerobot.model, theirs), "recap": (learner, ours)}
    # Neither side keeps a moving average here.
    one = bench.needs.total - bench.needs.memory["average"]
    together = not bench.card or 2 * one < 0.9 * torch.cuda.get_device_properties(0).total_memory
    seconds: dict[str, float] = {}
    if together:
        steps = {name: stepper(module.parameters(), losses) for name, (module, losses) in sides.items()}
        seconds = medians(steps, bench.rounds, 1, bench.clock)
    else:
        for module, _ in sides.values():
            module.cpu()
        for name, (module, losses) in sides.items():
            clear()
            module.to(runtime.device)
            seconds |= medians({name: stepper(module.parameters(), losses)}, bench.rounds, 1, bench.clock)
            module.zero_grad(set_to_none=True)
            module.cpu()
    order = "in turns" if together else "one after the other, for both do not fit"
    show(f"train step, {count} samples in {len(pieces)} passes, {order}", seconds, "samples", count)
    return seconds["LeRobot"] / seconds["recap"]


def check_losses(bench: Bench, learner: FlowLearner, lerobot: LeRobotPi05, few: Mapping[str, Any]) -> None:
    """Asserts that both sides have one loss of the same pictures, times and noise."""
    learner.shift_pixels = 0
    rows = {name: bench.runtime.move(value) for name, value in learner.prepare(few, step_generator(0, 0)).items()}
    lerobot.model.sample_noise = lambda shape, device: rows["noise"][:, 0]
    lerobot.model.sample_time = lambda count, device: rows["time"][:, 0]
    with torch.no_grad(), exactly():
        (theirs,) = lerobot.losses(few)
        check_equal("train, losses of recap and LeRobot", learner(rows)[0].cpu(), theirs.cpu())
    del lerobot.model.sample_noise, lerobot.model.sample_time
    learner.shift_pixels = bench.policy.shift_pixels


def time_acting(bench: Bench) -> float:
    runtime, config = bench.runtime, bench.policy
    exact = load_actor(Pi05Network, bench.bundle, runtime=replace(runtime, dtype="float32"))
    lerobot = LeRobotPi05(bench.bundle, runtime.device)
    observation = make_observation(1, config.network.image_size)
    noise = runtime.move(exact.noise(1))
    ours = partial(FlowActor(exact.network, exact.info, runtime).act, observation, noise_seed=1)
    theirs = partial(lerobot.act, observation, noise)
    with exactly():
        check_equal("act, actions of recap and LeRobot", exact.act(observation, noise_seed=1), theirs())

    def autocast() -> Any:
        with runtime.autocast():
            return theirs()

    times = partial(medians, rounds=bench.rounds, repeat=4, clock=bench.clock)
    first = times({"recap": ours, "LeRobot": autocast})
    lerobot.model.paligemma_with_expert.to_bfloat16_for_selected_params("bfloat16")
    second = times({"recap": ours, "LeRobot, its bfloat16 weights": theirs})
    for seconds in (first, second):
        show("act, one observation, in turns", seconds)
    return max(mine / other for mine, other in (first.values(), second.values()))


def time_labelling(bench: Bench) -> float:
    config, runtime, frames = bench.viva, bench.runtime, 1000 if bench.card else 120
    assert config.image_size is not None
    packed = bench.packed("viva", frames, *config.image_size)
    data = ValueData(
        packed=packed, returns=np.zeros(frames, np.float32), prompts=(TASK,), lookahead=np.ones(1, np.int64),
        success=np.ones(1, np.bool_),
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(runtime.device):
        transformer = draw(build_transformer(config.transformer, config.encoder.channels).eval())
    encoder, states = WanVaeEncoder.from_folder(config.encoder.folder), packed.state.shape[1]
    channels, rows, columns = encoder.latent_size(*config.image_size)
    parts = Parts(
        config=config, views=CAMERAS, image_size=config.image_size, transformer=transformer, encoder=encoder,
        layout=Layout(views=3, channels=channels, height=rows, width=columns, state_dim=states, future_state=True),
        state_range=StateRange(low=-torch.ones(states), high=torch.ones(states)),
        prompts={TASK: torch.randn(config.transformer.text_tokens, config.transformer.text_dim)},
    )  # fmt: skip
    with exactly():
        check_labels(Viva(parts, replace(runtime, dtype="float32")), data)
    ways = {way: run for way, run in label.sides(Viva(parts, runtime), data, frames).items() if way != "cold"}
    rounds = 1 if bench.card else bench.rounds
    taken = medians(ways, rounds, 1, bench.clock)
    seconds = {way: one / frames for way, one in taken.items()}
    show(f"label, one of {frames} frames, batches of {runtime.label_batch}, {rounds} rounds", seconds, "frames", 1)
    return seconds["frame at a time"] / seconds["warm"]


def check_labels(model: Viva, data: ValueData) -> None:
    """Asserts that every way gives the same values of a few frames, and that these hang on the pictures."""
    values = {way: run() for way, run in label.sides(model, data, FEW).items()}
    warm = values.pop("warm")
    for way, others in values.items():
        check_equal(f"label, values {way} and warm", others, warm)
    images, state = (torch.from_numpy(part[:FEW].copy()) for part in (data.packed.images, data.packed.state))
    with torch.inference_mode():
        negative = -model.parts.encoder(images).cpu()
    other, _ = model.label_latents(negative, state, TASK, data.packed.episode_ids[0], draws=1, noise_seed=0)
    apart = np.abs(other - warm).max() / np.abs(warm).max()
    assert apart > 10 * TOLERANCE, (
        f"label: values of other pictures are only {apart:.1e} apart: comparing proves nothing"
    )


class Ahead(FlowLearner):
    """Takes batches that are prepared already."""

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        return dict(batch)


class EnoughError(Exception):
    """Ends a training before its last checkpoint, which would be four times the weights."""


def train(
    bench: Bench,
    learner: FlowLearner,
    take: Callable[[int], Mapping[str, Any]],
    begin: Callable[[], Any] = lambda: None,
    end: Callable[[], Any] = lambda: None,
) -> float:
    """Seconds of one step of `fit` on the batches that `take` gives; `begin` and `end` enclose the steps that count."""
    steps, at = bench.steps, list[float]()

    def batch(step: int) -> Mapping[str, Any]:
        if step == WARM_STEPS:
            begin()
            at.append(bench.clock())
        if step == WARM_STEPS + steps:
            at.append(bench.clock())
            end()
            raise EnoughError
        return take(step)

    config = FitConfig(steps=WARM_STEPS + steps + 1, learning_rate=2.5e-5)
    with suppress(EnoughError):
        fit(
            learner, SimpleNamespace(batch=batch), config, seed=0, scratch=bench.folder / "scratch",
            journal=MemoryJournal(), runtime=bench.runtime,
        )  # fmt: skip
    return (at[1] - at[0]) / steps


def utilisation(bench: Bench) -> float:
    learner, title = bench.learner(), f"fit, one step of {bench.policy.batch_size} samples from packed frames"
    if bench.card:
        recorder = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        wall = train(bench, learner, bench.batches.batch, recorder.start, recorder.stop)
        busy = busy_seconds(recorder.events() or ()) / bench.steps
        show(title, {"wall": wall, "a kernel runs": busy})
        return busy / wall
    ahead, count = bench.learner(Ahead), WARM_STEPS + bench.steps
    rows = [learner.prepare(bench.batches.batch(step), step_generator(0, step)) for step in range(count)]
    taken: dict[str, list[float]] = {"batches made ahead": [], "real batches": []}
    for _ in range(bench.rounds):
        taken["batches made ahead"].append(train(bench, ahead, rows.__getitem__))
        taken["real batches"].append(train(bench, learner, bench.batches.batch))
    seconds = {name: median(values) for name, values in taken.items()}
    show(f"{title}, in turns", seconds)
    return seconds["batches made ahead"] / seconds["real batches"]


def busy_seconds(events: Iterable[Any]) -> float:
    """Time in which at least one kernel ran, of the profiler's events (microseconds)."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA
        and not event.is_user_annotation
        and not event.name.startswith(("Memcpy", "Memset"))
    )
    busy = until = 0.0
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / 1e6


def memory(bench: Bench) -> float | None:
    told = ", ".join(f"{name} {size / GIB:.3g}" for name, size in bench.needs.memory.items())
    print(f"memory of training pi0.5\n  {'estimate':32}{bench.needs.total / GIB:10.3f} GiB: {told}")
    if not bench.card:
        print("  no peak to compare it with: torch counts what it allocates on cards alone")
        return None
    learner = bench.learner()
    torch.cuda.reset_peak_memory_stats()
    train(bench, learner, bench.batches.batch)
    peak = torch.cuda.max_memory_allocated()
    print(f"  {'peak':32}{peak / GIB:10.3f} GiB")
    return peak / bench.needs.total


PARTS: dict[str, Callable[[Bench], float | None]] = {
    "pi05_step_vs_lerobot": time_step,
    "act_vs_lerobot": time_acting,
    "label_vs_frame_at_a_time": time_labelling,
    "utilisation": utilisation,
    "memory_vs_estimate": memory,
}


def measure(bench: Bench, names: Iterable[str]) -> tuple[dict[str, float | None], dict[str, str]]:
    """The figures, and why parts that failed have none."""
    figures: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    for name in names:
        try:
            figures[name] = PARTS[name](bench)
        except Exception as error:  # told in table and JSON; a part that does not fit a card must not lose the others
            figures[name], errors[name] = None, f"{type(error).__name__}: {error}"
            print(f"{name} is null: {errors[name]}")
            traceback.print_exc()
        clear()
    return figures, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=tuple(PARTS), help="one part alone; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    card = torch.cuda.is_available()
    device, sizes = (torch.cuda.get_device_name(), "published") if card else ("cpu", "tiny")
    print(f"{device}, {sizes} sizes, {args.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder=Path(folder), rounds=args.rounds, card=card)
        figures, errors = measure(bench, [args.part] if args.part else PARTS)
    told = {name: value if value is None else round(value, 3) for name, value in figures.items()}
    print(json.dumps({"device": device, "sizes": sizes, **told, "errors": errors}))
    raise SystemExit(any(not text.startswith("OutOfMemoryError") for text in errors.values()))


if __name__ == "__main__":
    main()
