"""Training ViVa on latents encoded once, against encoding every batch anew, with a small AutoencoderKLWan.

    python benchmarks/value_train.py [--steps 6] [--rounds 5]

Both sides take the same gradient steps on the same batches with the same noise and must end with the same loss. The
figure is the ratio of seconds per gradient step, median over rounds that take turns; encoding the frames once is told
apart, with the number of epochs after which it has paid for itself. One thread. Then every value family with a network
at its small size, as many steps and as large a batch: viva_vs_vlm_* above 1 say that ViVa is faster than a VLM of as
many parameters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import checkout  # noqa: F401
import numpy as np
import torch
from families import show, time_families
from label import vae_config, write_small_vae
from tests.support.values import PROMPT, synthetic_values

from recap.training.fit import step_generator
from value_model.models.viva.batches import ValueBatches, cached_latents
from value_model.models.viva.encoder import make_encoder
from value_model.models.viva.frames import Layout, StateRange
from value_model.models.viva.learner import VivaLearner
from value_model.models.viva.model import build_transformer, initialise
from value_model.models.viva.text import embed_prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = synthetic_values(work, episodes=3, length=80, size=64)
        config = vae_config(write_small_vae(work / "vae"))
        rows, views = np.arange(data.packed.num_frames), np.arange(3)
        encoder = make_encoder(config.encoder, data.packed.images, rows, views)
        start = time.perf_counter()
        latents = cached_latents(encoder, data.packed, views, range(3))
        encode_s = time.perf_counter() - start
        channels, height, width = encoder.latent_size(64, 64)
        layout = Layout(
            views=3,
            channels=channels,
            height=height,
            width=width,
            state_dim=data.packed.state.shape[1],
            future_state=True,
        )
        sizes = config.transformer
        prompt = embed_prompts([PROMPT], tokens=sizes.text_tokens, dim=sizes.text_dim, file="")[PROMPT]
        sides = {}
        for name, kept in (("cached", latents), ("encoded anew", None)):
            transformer = build_transformer(sizes, channels)
            initialise(transformer, seed=0)
            learner = VivaLearner(
                transformer,
                encoder,
                layout,
                StateRange.of(torch.from_numpy(data.packed.state.copy())),
                [prompt],
                config,
            )
            batches = ValueBatches(
                data,
                rows,
                views=views,
                prompt_numbers=np.zeros(3, dtype=np.int64),
                batch_size=config.batch_size,
                seed=0,
                latents=kept,
            )
            sides[name] = (learner, batches, torch.optim.AdamW(learner.parameters(), lr=1e-3, fused=True))
        times: dict[str, list[float]] = {name: [] for name in sides}
        losses: dict[str, float] = {}
        for turn in range(args.rounds + 1):
            for name, (learner, batches, optimizer) in sides.items():
                start = time.perf_counter()
                for step in range(turn * args.steps, (turn + 1) * args.steps):
                    loss, _ = learner(learner.prepare(batches.batch(step), step_generator(0, step)))
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    losses[name] = float(loss.detach())
                if turn:
                    times[name].append((time.perf_counter() - start) / args.steps)
        families = show(time_families(work / "families", steps=args.steps, rounds=args.rounds))
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    apart = abs(losses["cached"] - losses["encoded anew"])
    print(f"batch {config.batch_size}, {len(rows)} frames x 3 views of 64x64; last losses {apart:.1e} apart")
    for name, taken in seconds.items():
        print(f"  {name:14s} {1000 * taken:9.1f} ms/step")
    print(f"  encoding all frames once takes {encode_s:.1f} s")
    per_epoch = (seconds["encoded anew"] - seconds["cached"]) * len(rows) / config.batch_size
    result = {
        "benchmark": "value_train",
        "synthetic": True,
        "cached_vs_reencode": round(seconds["encoded anew"] / seconds["cached"], 4),
        "epochs_to_break_even": round(encode_s / per_epoch, 4),
        "ms_per_step": round(1000 * seconds["cached"], 2),
        "loss_abs_diff": round(apart, 9),
        **{name: None if value is None else round(value, 4) for name, value in families.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
