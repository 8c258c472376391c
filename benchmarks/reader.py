"""Random training batches from the frame cache, against a bare memory map and against LeRobotDataset.

    python benchmarks/reader.py [--episodes 6] [--length 150] [--size 64] [--rounds 5] [--real FOLDER]
                                [--old 1000] [--small 100000]

The episodes are synthetic (a noisy square over a still gradient), which flatters the compressed formats, not the cache.
Every side ends in the same float32 batch: images [B, C, 3, h, w] in 0..1, state [B, S], action chunk [B, H, A]; one
process, no loader workers. Figures are medians over rounds that take turns. pack_new_only: opening `--old` packed
episodes with 10 new ones, over packing those 10 alone. small_episodes_*: `--small` episodes of 8 frames of 16x16 from a
store that exists only here, read at random beside one memory map of the same bytes. `--real` names a LeRobotDataset
v3.0 folder with one video camera; without it real_vs_lerobot is null.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("SVT_LOG", "1")

import checkout  # noqa: F401
import numpy as np
import torch
from tests.support.synthetic import synthetic_draft

from data.batches import TrainingBatches
from data.episode_file import FRAMES_PER_CHUNK
from data.episodes import EpisodeStore
from data.framecache import FrameCache, FrameView
from data.index import EpisodeRow
from recap.types import EpisodeDraft, Source

CHUNK = 16
BATCH = 32
REAL_EPISODES = [0, 1]
Sampler = Callable[[int], Any]


def floats(images: np.ndarray) -> torch.Tensor:
    """uint8 [B, C, h, w, 3] -> float32 [B, C, 3, h, w] in 0..1."""
    return (
        torch.from_numpy(images).permute(0, 1, 4, 2, 3).to(torch.float32, memory_format=torch.contiguous_format) / 255
    )


def cache_sampler(packed: FrameView) -> Sampler:
    batches = TrainingBatches(packed, chunk=CHUNK, batch_size=BATCH, seed=0)

    def sample(step: int) -> Any:
        batch = batches.batch(step)
        return floats(batch.images), torch.from_numpy(batch.state), torch.from_numpy(batch.action), batch.action_is_pad

    return sample


def raw_uint8_sampler(packed: FrameView, folder: Path) -> Sampler:
    """What numpy alone does with the same rows in one file: no padding, no bookkeeping, order known beforehand."""
    file = folder / "images.npy"
    if not file.exists():
        copy = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=packed.images.shape)
        for at in range(0, packed.num_frames, 1000):
            copy[at : at + 1000] = packed.images[at : at + 1000]
        copy.flush()
    images = np.load(file, mmap_mode="r").view(np.ndarray)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, packed.num_frames - CHUNK, size=(512, BATCH))
    targets = rows[..., None] + np.arange(CHUNK)

    def sample(step: int) -> Any:
        here = step % len(rows)
        return images[rows[here]], packed.state[rows[here]], packed.action[targets[here]]

    return sample


def cache_uint8_sampler(packed: FrameView) -> Sampler:
    return TrainingBatches(packed, chunk=CHUNK, batch_size=BATCH, seed=0).batch


def raw_float_sampler(packed: FrameView, folder: Path) -> Sampler:
    raw = raw_uint8_sampler(packed, folder)

    def sample(step: int) -> Any:
        images, state, action = raw(step)
        return floats(images), torch.from_numpy(state), torch.from_numpy(action)

    return sample


def lerobot_sampler(
    root: Path, repo_id: str, *, fps: float, resize: int | None = None, episodes: list[int] | None = None
) -> Sampler:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torch.utils.data import default_collate

    ahead = {"action": [k / fps for k in range(CHUNK)]}
    dataset = LeRobotDataset(repo_id, root=root, episodes=episodes, delta_timestamps=ahead, video_backend="pyav")
    cameras = dataset.meta.camera_keys
    order = np.random.default_rng(0).permutation(len(dataset))

    def sample(step: int) -> Any:
        rows = [int(order[(step * BATCH + b) % len(order)]) for b in range(BATCH)]
        batch = default_collate([dataset[row] for row in rows])
        images = torch.stack([batch[camera] for camera in cameras], dim=1)
        if resize:
            size = (resize * images.shape[-2] // images.shape[-1], resize)
            small = torch.nn.functional.interpolate(images.flatten(0, 1), size=size, mode="bilinear", antialias=True)
            images = small.unflatten(0, images.shape[:2])
        return images, batch["observation.state"], batch["action"], batch["action_is_pad"]

    return sample


def write_lerobot(root: Path, drafts: list[EpisodeDraft], *, videos: bool) -> float:
    """Seconds to write the same episodes as a LeRobotDataset."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    first = drafts[0]
    features: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": first.state.shape[1:], "names": None},
        "action": {"dtype": "float32", "shape": first.action.shape[1:], "names": None},
    }
    for camera, frames in first.frames.items():
        kind = "video" if videos else "image"
        names = ["height", "width", "channels"]
        features[f"observation.images.{camera}"] = {"dtype": kind, "shape": frames.shape[1:], "names": names}
    start = time.perf_counter()
    dataset = LeRobotDataset.create(
        "bench/reader", fps=10, features=features, root=root, use_videos=videos, video_backend="pyav"
    )
    for draft in drafts:
        for t in range(draft.length):
            images = {f"observation.images.{camera}": frames[t] for camera, frames in draft.frames.items()}
            dataset.add_frame({"observation.state": draft.state[t], "action": draft.action[t], "task": "x", **images})
        dataset.save_episode()
    dataset.finalize()
    return time.perf_counter() - start


def take_turns(samplers: dict[str, Sampler], batches: dict[str, int], rounds: int) -> dict[str, float]:
    """Median ms per batch of each, after one warm round, in turns so that a busy moment hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for turn in range(rounds + 1):
        for name, sample in samplers.items():
            count = batches[name]
            start = time.perf_counter()
            for step in range(turn * count, (turn + 1) * count):
                sample(step)
            if turn:
                times[name].append(1000 * (time.perf_counter() - start) / count)
    return {name: statistics.median(values) for name, values in times.items()}


def import_real(root: Path, store: EpisodeStore) -> list[str]:
    """Commits the episodes of a one-camera LeRobotDataset; how a product import does it is not measured here."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/real", root=root, episodes=REAL_EPISODES, video_backend="pyav", return_uint8=True)
    (camera,) = dataset.meta.camera_keys
    ids, rows, current = [], [], None
    for i in range(len(dataset) + 1):
        item = dataset[i] if i < len(dataset) else None
        if rows and (item is None or int(item["episode_index"]) != current):
            numbers = {k: np.stack([row[k] for row in rows]) for k in ("state", "action", "frames")}
            base = synthetic_draft(0, length=1)
            draft = replace(
                base,
                task="real",
                robot="imported",
                start_seed=None,
                renderer=None,
                rate_hz=float(dataset.fps),
                state=numbers["state"],
                action=numbers["action"],
                intervened=np.ones(len(rows), bool),
                frames={camera: numbers["frames"]},
            )
            ids.append(store.commit(draft))
            rows = []
        if item is not None:
            current = int(item["episode_index"])
            image = item[camera].permute(1, 2, 0).numpy()
            rows.append({"state": item["observation.state"].numpy(), "action": item["action"].numpy(), "frames": image})
    return ids


def real_ratio(root: Path, work: Path, rounds: int) -> tuple[float, dict[str, float]]:
    store = EpisodeStore(work / "real")
    ids = import_real(root, store)
    height, width = store.info(ids[0]).image_sizes[0]
    packed = FrameCache(work / "real-cache").view(store, ids, image_size=(224 * height // width, 224))
    fps = store.info(ids[0]).rate_hz
    lerobot = lerobot_sampler(root, "local/real", fps=fps, resize=224, episodes=REAL_EPISODES)
    ms = take_turns(
        {"real cache": cache_sampler(packed), "real lerobot": lerobot}, {"real cache": 20, "real lerobot": 1}, rounds
    )
    return ms["real lerobot"] / ms["real cache"], ms


def pack_new_only(work: Path, old: int, rounds: int) -> dict[str, float]:
    """Median seconds to open `old` packed episodes with 10 new ones, and to pack such 10 alone."""
    store = EpisodeStore(work / "growing")
    drafts = (synthetic_draft(seed, length=30, height=64, width=64) for seed in range(old + 10 * (rounds + 1)))
    ids = [store.commit(draft) for draft in drafts]
    store.rows()
    cache = FrameCache(work / "growing-cache")
    cache.view(store, ids[:old])
    times: dict[str, list[float]] = {"beside": [], "alone": []}
    for turn in range(rounds + 1):
        known, new = ids[: old + 10 * turn], ids[old + 10 * turn : old + 10 * (turn + 1)]
        for name, where, wanted in (
            ("beside", cache, [*known, *new]),
            ("alone", FrameCache(work / f"alone-{turn}"), new),
        ):
            start = time.perf_counter()
            where.view(store, wanted)
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


class MadeUp:
    """A store of many small episodes that are made when they are read: writing 100,000 files is not measured here."""

    length, size = 8, 16

    def __init__(self, count: int) -> None:
        self.count = count
        self._noise = np.random.default_rng(0).integers(0, 256, (64, self.length, self.size, self.size, 3), np.uint8)

    def rows(self, _: Any) -> list[EpisodeRow]:
        facts: dict[str, Any] = {"task": "x", "robot": "r", "source": Source.DEMO, "policy_id": None, "rate_hz": 10.0}
        sizes = ((self.size, self.size),) * 3
        shapes: dict[str, Any] = {"length": self.length, "state_dim": 14, "action_dim": 14, "image_sizes": sizes}
        rest: dict[str, Any] = {"start_seed": None, "renderer": None, "content_sha256": "", "bytes": 0, "sha256": ""}
        names = sorted(hashlib.sha256(str(n).encode()).hexdigest() for n in range(self.count))
        return [EpisodeRow(id=name, cameras=("a", "b", "c"), **facts, **shapes, **rest) for name in names]

    def load(self, episode: str) -> Any:
        number = int(episode[:8], 16)
        return SimpleNamespace(
            length=self.length,
            frames={camera: self._noise[(number + c) % 64] for c, camera in enumerate("abc")},
            state=np.full((self.length, 14), number % 97, np.float32),
            action=np.full((self.length, 14), number % 89, np.float32),
            intervened=np.zeros(self.length, bool),
        )


def small_episodes(work: Path, count: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """(seconds to pack and to open, median ms per batch of each side)."""
    store: Any = MadeUp(count)
    seconds = {}
    for name in ("pack", "open"):
        start = time.perf_counter()
        packed = FrameCache(work / "small").view(store, [])
        seconds[name] = time.perf_counter() - start
    (work / "small-raw").mkdir()
    samplers = {
        "small, cache": cache_sampler(packed),
        "small, memmap": raw_float_sampler(packed, work / "small-raw"),
        "small, cache, uint8": cache_uint8_sampler(packed),
        "small, memmap, uint8": raw_uint8_sampler(packed, work / "small-raw"),
    }
    return seconds, take_turns(samplers, dict.fromkeys(samplers, 200), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = (("episodes", 6), ("length", 150), ("size", 64), ("rounds", 5), ("old", 1000), ("small", 100_000))
    for name, default in sizes:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--real", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    drafts = [
        synthetic_draft(seed, length=args.length, height=args.size, width=args.size) for seed in range(args.episodes)
    ]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        store = EpisodeStore(work / "episodes")
        store.commit(replace(drafts[0], task="warm_up"))
        start = time.perf_counter()
        ids = [store.commit(draft) for draft in drafts]
        commit_s = (time.perf_counter() - start) / args.episodes
        start = time.perf_counter()
        packed = FrameCache(work / "cache").view(store, ids)
        build_s = time.perf_counter() - start
        written = {
            "video": write_lerobot(work / "video", drafts, videos=True),
            "images": write_lerobot(work / "images", drafts, videos=False),
        }
        samplers: dict[str, Sampler] = {
            "frame cache": cache_sampler(packed),
            "memmap": raw_float_sampler(packed, work),
            "frame cache, uint8": cache_uint8_sampler(packed),
            "memmap, uint8": raw_uint8_sampler(packed, work),
            "lerobot images": lerobot_sampler(work / "images", "bench/reader", fps=10),
            "lerobot video": lerobot_sampler(work / "video", "bench/reader", fps=10),
        }
        batches = dict.fromkeys(samplers, 100) | {"lerobot images": 3, "lerobot video": 1}
        ms = take_turns(samplers, batches, args.rounds)
        per_epoch = packed.num_frames / BATCH / 1000
        saved_per_epoch = per_epoch * (ms["lerobot images"] - ms["frame cache"])
        real, real_ms = real_ratio(args.real, work, args.rounds) if args.real else (None, {})
        pack_s = pack_new_only(work, args.old, args.rounds)
        small_s, small_ms = small_episodes(work, args.small, args.rounds)
        store_mb = sum(row.bytes for row in store.rows(ids)) / 1e6
    print(f"{args.episodes} synthetic episodes x {args.length} frames x 3 cameras {args.size}x{args.size}")
    print(f"batch {BATCH}, chunk {CHUNK}; episode files: zstd, {FRAMES_PER_CHUNK} frames a chunk, {store_mb:.1f} MB")
    for name, value in (ms | small_ms | real_ms).items():
        print(f"  {name:22s} {value:9.3f} ms/batch  {1000 * BATCH / value:10.0f} samples/s")
    for name, seconds in written.items():
        print(f"  LeRobotDataset ({name}) writes an episode in {seconds / args.episodes * 1000:.0f} ms")
    print(
        f"  an episode is committed in {commit_s * 1000:.0f} ms and packed in {build_s / args.episodes * 1000:.0f} ms"
    )
    print(f"  10 new episodes beside {args.old}: {pack_s['beside']:.3f} s, alone {pack_s['alone']:.3f} s")
    print(f"  {args.small} small episodes: packed in {small_s['pack']:.1f} s, opened in {small_s['open']:.2f} s")
    result = {
        "benchmark": "reader",
        "synthetic": True,
        "vs_lerobot_video": ms["lerobot video"] / ms["frame cache"],
        "vs_lerobot_images": ms["lerobot images"] / ms["frame cache"],
        "vs_memmap": ms["memmap"] / ms["frame cache"],
        "vs_memmap_uint8": ms["memmap, uint8"] / ms["frame cache, uint8"],
        "pack_new_only": pack_s["beside"] / pack_s["alone"],
        "small_episodes_vs_memmap": small_ms["small, memmap"] / small_ms["small, cache"],
        "small_episodes_vs_memmap_uint8": small_ms["small, memmap, uint8"] / small_ms["small, cache, uint8"],
        "small_episodes_open_s": small_s["open"],
        "cache_build_s_per_episode": build_s / args.episodes,
        "epochs_to_break_even": build_s / saved_per_epoch,
        "commit_s_per_episode": commit_s,
        "real_vs_lerobot": real,
    }
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}))


if __name__ == "__main__":
    main()
