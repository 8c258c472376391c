"""What acting and training cost: against LeRobot's own pi0.5 class, and with guidance against without.

    python benchmarks/act.py [--rounds 15]

Both sides hold the same small weights (SigLIP tower, no slot embeddings: sizes that LeRobot's class can have), and the
same actions come out of both, which is checked before anything is timed. Latency is measured twice: of the whole way
from camera frames to robot actions, and of the network alone on ready tensors; beta1_vs_lerobot is the worse. Training
is a whole step (frames to AdamW), one (time, noise) draw per sample on both sides; ours hears mixed conditions. The
cost of guidance is that of the product's small network. One thread, sides interleaved, medians of CPU time: other load
on the machine then counts for neither.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
import torch
from tests.support.policies import (
    CAMERAS,
    NAMES,
    SYNTHETIC_ROWS,
    TASK,
    SyntheticBatches,
    make_observation,
    synthetic_stats,
)
from torch import Tensor

from policy.conditioning import POSITIVE, ConditionedBatches
from policy.flow.acting import chunk_noise
from policy.flow.acting import load_policy as load_actor
from policy.flow.bundle import read_bundle, write_bundle
from policy.flow.info import BundleInfo
from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner, float_images
from policy.flow.scaling import PolicyStats
from policy.flow.sizes import NetworkSizes
from policy.flow.vocabulary import FIRST_BIN
from policy.models import Acting, with_acting
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import small
from recap.training.fit import step_generator

CHUNK, EULER_STEPS, BATCH, PROMPT_TOKENS = 12, 5, 16, 64
COMPARISON = Path(__file__).parent.parent / "tests" / "contract" / "policy" / "compare_with_lerobot.py"


def published_kind() -> NetworkSizes:
    """The small network in a shape that LeRobot's class can have."""
    return replace(small(), vision="siglip", patch_size=16, vision_width=96, vision_mlp=192, slot_embeddings=False)


def write_untrained(path: Path, sizes: NetworkSizes) -> Path:
    """A bundle of seeded weights that acts with the positive condition."""
    sizes = replace(sizes, action_dim=len(NAMES), cameras=len(CAMERAS))
    network = Pi05Network(sizes)
    initialise(network, seed=0, first_bin=FIRST_BIN)
    info = BundleInfo(
        network=sizes, task=TASK, chunk=CHUNK, execute=8, euler_steps=EULER_STEPS, prompt_tokens=PROMPT_TOKENS,
        cameras=CAMERAS, state_names=NAMES, action_names=NAMES, relative_dims=(), condition=POSITIVE,
        stats=PolicyStats.from_json(synthetic_stats(CHUNK, ()), relative=False),
    )  # fmt: skip
    write_bundle(path, network, info)
    return path


class LeRobotPi05:
    """LeRobot's PI05Policy around its own PI05Pytorch, with the bundle's weights and processors."""

    def __init__(self, bundle: Path, device: str = "cpu") -> None:
        from lerobot.policies.factory import make_pre_post_processors

        from policy.models.pi05.lerobot_plugin import modeling_recap_pi05

        spec = importlib.util.spec_from_file_location("compare_with_lerobot", COMPARISON)
        assert spec is not None
        assert spec.loader is not None
        comparison = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(comparison)
        ours, info = read_bundle(Pi05Network, bundle)
        self.policy = modeling_recap_pi05.RecapPI05Policy.from_pretrained(bundle)
        with torch.device(device):
            model = comparison.lerobot_network(info.network, info.chunk)
        left = model.load_state_dict(ours.state_dict(), strict=False)
        assert set(left.missing_keys) <= comparison.UNUSED, left.missing_keys
        assert not left.unexpected_keys, left.unexpected_keys
        model.config.num_inference_steps = info.euler_steps
        self.model = self.policy.model = model
        self.pre, self.post = make_pre_post_processors(
            self.policy.config,
            pretrained_path=str(bundle),
            preprocessor_overrides={"device_processor": {"device": device}},
        )

    def act(self, observation: Any, noise: Tensor) -> Any:
        """[H, A] robot actions."""
        batch = {"observation.state": torch.from_numpy(observation.state), "task": observation.prompt}
        for name, frame in observation.frames.items():
            batch[f"observation.images.{name}"] = torch.from_numpy(frame).permute(2, 0, 1).float() / 255
        self.model.sample_noise = lambda shape, device: noise[None]
        return self.post(self.policy.predict_action_chunk(self.pre(batch)))[0].numpy()

    def losses(self, batch: Mapping[str, Any], pieces: Sequence[slice] = (slice(None),)) -> Iterator[Tensor]:
        """LeRobot's training loss, every action counted: of each piece of the batch, times its share of the rows."""
        from lerobot.policies.pi05.modeling_pi05 import PI05Policy

        fed = {
            "observation.state": torch.from_numpy(batch["state"]),
            "action": torch.from_numpy(batch["action"]),
            "task": [TASK] * len(batch["state"]),
        }
        for index, name in enumerate(CAMERAS):
            fed[f"observation.images.{name}"] = (
                torch.from_numpy(batch["images"][:, index]).permute(0, 3, 1, 2).float() / 255
            )
        count, whole = len(batch["state"]), self.pre(fed)
        for piece in pieces:
            rows = {name: value[piece] for name, value in whole.items() if isinstance(value, Tensor)}
            loss: Tensor = PI05Policy.forward(self.policy, rows)[0]
            yield loss * (len(rows["action"]) / count)


def medians(
    sides: Mapping[str, Callable[[], Any]],
    rounds: int,
    repeat: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Seconds per call of every side, by default of the CPU's time, measured in turns."""
    for side in sides.values():
        side()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = clock()
            for _ in range(repeat):
                side()
            taken[name].append((clock() - start) / repeat)
    return {name: statistics.median(values) for name, values in taken.items()}


def time_acting(bundle: Path, lerobot: LeRobotPi05, rounds: int) -> dict[str, float]:
    """ms of one observation: the whole way, and the network alone."""
    actor = load_actor(Pi05Network, bundle)
    observation, noise = make_observation(1), chunk_noise(1, CHUNK, len(NAMES))
    difference = np.abs(actor.act(observation, noise_seed=1) - lerobot.act(observation, noise)).max()
    assert difference < 1e-5, f"actions differ by {difference}"
    images = float_images(torch.from_numpy(np.stack([observation.frames[name] for name in CAMERAS])[None]))
    state = actor.info.stats.state.apply(observation.state[None])
    tokens = torch.from_numpy(PROMPT.tokens(TASK, state, condition=POSITIVE))
    masks = [torch.ones(1, dtype=torch.bool) for _ in CAMERAS]
    token_mask = torch.ones_like(tokens, dtype=torch.bool)

    def ours_network() -> Tensor:
        with torch.inference_mode():
            return actor.network.sample(actor.network.prefix(images, tokens), noise[None, None], EULER_STEPS)

    def lerobot_network() -> Tensor:
        result: Tensor = lerobot.model.sample_actions(list(images.unbind(1)), masks, tokens, token_mask, noise[None])
        return result

    seconds = medians(
        {
            "whole way, recap": lambda: actor.act(observation, noise_seed=1),
            "whole way, LeRobot": lambda: lerobot.act(observation, noise),
            "network, recap": ours_network,
            "network, LeRobot": lerobot_network,
        },
        rounds,
        repeat=4,
    )
    return {name: 1e3 * value for name, value in seconds.items()}


def mixed_batch() -> Mapping[str, Any]:
    """A training batch with all three conditions in it."""
    labels = np.arange(SYNTHETIC_ROWS) % 2 == 0
    batch = ConditionedBatches(SyntheticBatches(batch_size=BATCH, chunk=CHUNK), labels, seed=0).batch(0)
    assert len(set(batch["condition"].tolist())) == 3
    return batch


def stepper(parameters: Iterable[torch.nn.Parameter], losses: Callable[[], Iterable[Tensor]]) -> Callable[[], None]:
    """One whole training step as a call; the gradients of several losses add up."""
    weights = list(parameters)
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for loss in losses():
            loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    return step


def learner_step(bundle: Path, batch: Mapping[str, Any], draws: int) -> Callable[[], None]:
    """A step of recap's learner from the weights of a bundle, in the memory layout of a fresh network."""
    weights, info = read_bundle(Pi05Network, bundle)
    network = Pi05Network(info.network)
    network.load_state_dict(weights.state_dict())
    learner = FlowLearner(network, prompts=(TASK,), stats=info.stats, draws=draws, shift_pixels=2)
    generator = step_generator(0, 0)
    return stepper(learner.parameters(), lambda: [learner(learner.prepare(batch, generator))[0]])


def time_training(bundle: Path, lerobot: LeRobotPi05, rounds: int) -> dict[str, float]:
    """Samples per second of whole training steps."""
    batch = mixed_batch()

    lerobot.model.train()
    del lerobot.model.sample_noise  # the fixed noise of acting
    sides = {
        "LeRobot": stepper(lerobot.model.parameters(), lambda: lerobot.losses(batch)),
        "recap, 1 draw": learner_step(bundle, batch, 1),
        "recap, 4 draws": learner_step(bundle, batch, 4),
    }
    return {name: BATCH / seconds for name, seconds in medians(sides, rounds, repeat=1).items()}


def time_conditions(folder: Path, rounds: int) -> dict[str, float]:
    """ms of a training step of the product's small network, four draws, without conditions and with mixed ones."""
    plain, batch = write_untrained(folder / "trained", small()), mixed_batch()
    bare = {name: value for name, value in batch.items() if name != "condition"}
    sides = {"unconditioned": learner_step(plain, bare, 4), "mixed conditions": learner_step(plain, batch, 4)}
    seconds = medians(sides, rounds, repeat=2)
    return {name: 1e3 * value for name, value in seconds.items()}


def time_guidance(folder: Path, rounds: int) -> dict[int, tuple[float, float]]:
    """{batch: (ms at beta 1, ms at beta 2)} of the product's small network."""
    plain = write_untrained(folder / "plain", small())
    with_acting(plain, folder / "guided", Acting(guidance=2.0))
    actors = {"beta 1": load_actor(Pi05Network, plain), "beta 2": load_actor(Pi05Network, folder / "guided")}
    found = {}
    for batch in (1, 8):
        observations = [make_observation(seed) for seed in range(batch)]
        sides = {
            beta: partial(actor.act_batch, observations, noise_seeds=list(range(batch)))
            for beta, actor in actors.items()
        }
        seconds = medians(sides, rounds, repeat=4)
        found[batch] = (1e3 * seconds["beta 1"], 1e3 * seconds["beta 2"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        bundle = write_untrained(Path(name) / "same", published_kind())
        lerobot = LeRobotPi05(bundle)
        acting = time_acting(bundle, lerobot, rounds)
        guidance = time_guidance(Path(name), rounds)
        conditions = time_conditions(Path(name), rounds)
        training = time_training(bundle, lerobot, rounds)
    for what, milliseconds in acting.items():
        print(f"act, batch 1, {what:24}{milliseconds:9.2f} ms")
    for batch, (one, two) in guidance.items():
        print(f"act, batch {batch}, beta 1 and beta 2      {one:9.2f} ms{two:9.2f} ms{two / one:7.2f}")
    for what, rate in training.items():
        print(f"train, {what:31}{rate:9.1f} samples/s")
    for what, milliseconds in conditions.items():
        print(f"train step, small, {what:19}{milliseconds:9.2f} ms")
    ratios = [acting[f"{way}, recap"] / acting[f"{way}, LeRobot"] for way in ("whole way", "network")]
    figures = {
        "beta1_vs_lerobot": max(ratios),
        "beta1_vs_lerobot_whole": ratios[0],
        "beta1_vs_lerobot_network": ratios[1],
        "beta2_vs_beta1": max(two / one for one, two in guidance.values()),
        "train_vs_lerobot": training["recap, 1 draw"] / training["LeRobot"],
        "conditioned_vs_plain_step": conditions["mixed conditions"] / conditions["unconditioned"],
    }
    print(json.dumps({key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
