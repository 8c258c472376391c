"""Labelling episodes with ViVa: batched and encoded once, against one frame at a time as the released code does it.

    python benchmarks/label.py [--length 90] [--rounds 5] [--skip-50m]

One frame at a time means: encode the frame's views one by one with the encoder as its library ships it, denoise once,
decode. `own_encoder_*` is the stricter comparison: one frame at a time, but its views together and with our encoder,
which skips the convolutions over time. All sides have the same weights and noise and must give the same values. Cold
includes encoding; warm finds the latents of an earlier labelling. With a small AutoencoderKLWan (the kind of encoder
ViVa uses: the figures without a prefix), with the linear encoder of the small model (linear_*), and with a transformer
of at least 50 M parameters on a few frames. Weights are all but untrained: speed does not depend on them. Medians over
rounds that take turns; one thread. Then every value family with a network at its small size, end to end from packed
pictures: minutes per 10^6 frames, and how much faster ViVa labels than a VLM of as many parameters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import checkout  # noqa: F401
import numpy as np
import torch
from families import show, time_families
from tests.support.values import synthetic_values, train_synthetic

from recap.training.config import FitConfig
from recap.types import FloatArray
from value_model.models import ValueData
from value_model.models.viva import VivaConfig, small_config
from value_model.models.viva.config import EncoderConfig, TransformerSizes
from value_model.models.viva.encoder import ENCODE_BATCH, LinearEncoder
from value_model.models.viva.label import Viva, load

SIZES_50M = TransformerSizes(layers=8, heads=10, head_dim=64, ffn_dim=2560)


def write_small_vae(folder: Path) -> str:
    """Wan2.2's autoencoder with few channels and random weights: 8 latent channels, 8 pixels per cell."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=16,
        decoder_base_dim=8,
        z_dim=8,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * 8,
        latents_std=[1.0] * 8,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )
    vae.save_pretrained(folder)
    return str(folder)


def vae_config(folder: str) -> VivaConfig:
    return small_config(encoder=EncoderConfig(kind="wan_vae", folder=folder), shift_pixels=0)


def barely_trained(config: VivaConfig, data: ValueData, folder: Path) -> Viva:
    """A model whose values depend on the pictures at all, so that comparing them means something."""
    quick = replace(config, batch_size=4, fit=FitConfig(steps=20))
    train_synthetic(quick, data, folder, episodes=(1,))
    return load(folder / "bundle")


def plain_encoder(model: Viva) -> Callable[[torch.Tensor], torch.Tensor]:
    """The model's encoder without what recap does to it for speed."""
    encoder = model.parts.encoder
    if isinstance(encoder, LinearEncoder):
        return encoder
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(model.parts.config.encoder.folder).to(encoder.mean.device)

    def encode(images: torch.Tensor) -> torch.Tensor:
        video = images.to(vae.device).flatten(0, 1).permute(0, 3, 1, 2)[:, :, None] / 127.5 - 1
        latent = vae.encode(video).latent_dist.mode()
        return ((latent - encoder.mean) / encoder.std)[:, :, 0].unflatten(0, images.shape[:2])

    return encode


def sides(model: Viva, data: ValueData, frames: int) -> dict[str, Callable[[], FloatArray]]:
    """Three ways to the values of the first `frames` frames of episode 0."""
    packed = data.packed
    state = torch.from_numpy(packed.state[:frames].copy())
    prompt, episode_id = data.prompts[0], packed.episode_ids[0]

    def encode(first: int, last: int) -> torch.Tensor:
        with torch.inference_mode():
            return model.parts.encoder(torch.from_numpy(packed.images[first:last].copy())).cpu()

    def encoded() -> torch.Tensor:
        return torch.cat([encode(at, min(at + ENCODE_BATCH, frames)) for at in range(0, frames, ENCODE_BATCH)])

    def batched(latents: torch.Tensor) -> FloatArray:
        return model.label_latents(latents, state, prompt, episode_id, draws=1, noise_seed=0)[0]

    naive = plain_encoder(model)

    def view_by_view(t: int) -> torch.Tensor:
        images = packed.images[t : t + 1].copy()
        with torch.inference_mode():
            views = [naive(torch.from_numpy(images[:, view : view + 1])) for view in range(images.shape[1])]
        return torch.cat(views, dim=1).cpu()

    def one_by_one(encoded: Callable[[int], torch.Tensor]) -> FloatArray:
        def one(t: int) -> FloatArray:
            latents, now = encoded(t), state[t : t + 1]
            return model.label_latents(latents, now, prompt, episode_id, draws=1, noise_seed=0, start=t)[0]

        return np.concatenate([one(t) for t in range(frames)])

    kept = encoded()
    return {
        "warm": lambda: batched(kept),
        "cold": lambda: batched(encoded()),
        "frame at a time": lambda: one_by_one(view_by_view),
        "frame at a time, our encoder": lambda: one_by_one(lambda t: encode(t, t + 1)),
    }


def measure(name: str, model: Viva, data: ValueData, *, frames: int, rounds: int) -> tuple[dict[str, float], float]:
    """(median seconds per frame of each side, largest difference between their values)."""
    ways = sides(model, data, frames)
    values = {way: run() for way, run in ways.items()}
    assert values["cold"].std() > 1e-4, f"{name}: values do not depend on the pictures, comparing them proves nothing"
    apart = max(float(np.abs(other - values["cold"]).max()) for other in values.values())
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            times[way].append((time.perf_counter() - start) / frames)
    seconds = {way: statistics.median(taken) for way, taken in times.items()}
    parameters = sum(value.numel() for value in model.parts.transformer.parameters())
    print(f"{name}: {parameters / 1e6:.2f} M parameters, {frames} frames, values at most {apart:.1e} apart")
    for way, taken in seconds.items():
        print(f"  {way:30s} {1000 * taken:9.3f} ms/frame {1 / taken:9.0f} frames/s")
    return seconds, apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-50m", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = synthetic_values(work, episodes=2, length=args.length, size=64)
        frames = int(data.packed.offsets[1])
        models = {
            "linear encoder": (barely_trained(small_config(), data, work / "linear"), frames, args.rounds),
            "small AutoencoderKLWan": (
                barely_trained(vae_config(write_small_vae(work / "vae")), data, work / "with_vae"),
                min(frames, 24),
                args.rounds,
            ),
        }
        if not args.skip_50m:
            large = barely_trained(small_config(transformer=SIZES_50M), data, work / "large")
            models["50 M transformer"] = (large, 16, min(args.rounds, 3))
        seconds, apart = {}, {}
        for name, (model, count, rounds) in models.items():
            seconds[name], apart[name] = measure(name, model, data, frames=count, rounds=rounds)
        families = show(time_families(work / "families", steps=2, rounds=args.rounds))

    def ratio(name: str, way: str, to: str = "frame at a time") -> float | None:
        return seconds[name][to] / seconds[name][way] if name in seconds else None

    strict = "frame at a time, our encoder"

    result = {
        "benchmark": "label",
        "synthetic": True,
        "warm_vs_frame_at_a_time": ratio("small AutoencoderKLWan", "warm"),
        "cold_vs_frame_at_a_time": ratio("small AutoencoderKLWan", "cold"),
        "own_encoder_warm_vs_frame_at_a_time": ratio("small AutoencoderKLWan", "warm", strict),
        "own_encoder_cold_vs_frame_at_a_time": ratio("small AutoencoderKLWan", "cold", strict),
        "linear_warm_vs_frame_at_a_time": ratio("linear encoder", "warm"),
        "linear_cold_vs_frame_at_a_time": ratio("linear encoder", "cold"),
        "cold_vs_at_50m": ratio("50 M transformer", "cold"),
        "frames_per_s": 1 / seconds["linear encoder"]["cold"],
        "max_abs_diff": max(apart.values()),
        "viva_vs_vlm_label": families["viva_vs_vlm_label"],
        **{name: value for name, value in families.items() if name.endswith("_per_million")},
    }
    print(json.dumps({k: round(v, 7) if isinstance(v, float) else v for k, v in result.items()}))


if __name__ == "__main__":
    main()
