"""Made-up LeRobotDataset folders for tests and benchmarks, versions 2.1 and 3.0, written without LeRobot.

Videos are lossless H.264 in RGB, so what is read back can be compared bit for bit.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recap.types import FrameArray

PROMPT = "put the cube into the box"


def synthetic_dataset(
    root: Path,
    *,
    version: str = "v3.0",
    lengths: Sequence[int] = (6, 4, 5),
    fps: float = 10,
    size: tuple[int, int] = (32, 48),
    dims: tuple[int, int] = (3, 2),
    cameras: Sequence[str] = ("front",),
    pictures: str = "video",
    frame_columns: Mapping[str, Sequence[Any]] | None = None,
    episode_columns: Mapping[str, Sequence[Any]] | None = None,
    instructions: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """Writes a dataset folder and returns it.

    Args:
        root: to make.
        version: "v2.1" or "v3.0"; in 3.0 the last episode has files of its own.
        lengths: frames of each episode.
        fps: rate.
        size: (h, w), even numbers.
        dims: of state and action.
        cameras: features `observation.images.<camera>`.
        pictures: "video", or "image" for PNG in the tables.
        frame_columns: {name: one list per episode of one value per frame}.
        episode_columns: {name: one value per episode}.
        instructions: one per episode; PROMPT by default.
        seed: of the content.
    """
    told = list(instructions or [PROMPT] * len(lengths))
    v3, frame_columns, episode_columns = version == "v3.0", frame_columns or {}, episode_columns or {}
    groups = _groups(len(lengths), v3=v3)
    first = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    meta: list[dict[str, Any]] = []
    for number, episodes in enumerate(groups):
        rows: list[dict[str, Any]] = []
        films: dict[str, list[FrameArray]] = {camera: [] for camera in cameras}
        start = 0
        for e in episodes:
            state, action = synthetic_numbers(e, lengths[e], dims, seed=seed)
            made = {camera: synthetic_film(e, lengths[e], size, camera, seed=seed) for camera in cameras}
            for t in range(lengths[e]):
                row = {
                    "observation.state": state[t].tolist(),
                    "action": action[t].tolist(),
                    "timestamp": np.float32(t / fps),
                    "frame_index": t,
                    "episode_index": e,
                    "index": first[e] + t,
                    "task_index": sorted(set(told)).index(told[e]),
                    **{name: column[e][t] for name, column in frame_columns.items()},
                }
                if pictures == "image":
                    row |= {f"observation.images.{camera}": _png(film[t]) for camera, film in made.items()}
                rows.append(row)
            for camera, film in made.items():
                films[camera].append(film)
            entry = {"episode_index": e, "tasks": [told[e]], "length": lengths[e]}
            entry |= {name: column[e] for name, column in episode_columns.items()}
            if v3:
                entry |= {"data/chunk_index": 0, "data/file_index": number}
                entry |= {"dataset_from_index": first[e], "dataset_to_index": first[e + 1]}
                for camera in cameras if pictures == "video" else ():
                    prefix = f"videos/observation.images.{camera}"
                    entry |= {f"{prefix}/chunk_index": 0, f"{prefix}/file_index": number}
                    entry |= {f"{prefix}/from_timestamp": start / fps}
                    entry |= {f"{prefix}/to_timestamp": (start + lengths[e]) / fps}
            start += lengths[e]
            meta.append(entry)
        name = f"file-{number:03d}" if v3 else f"episode_{number:06d}"
        _write_table(root / "data" / "chunk-000" / f"{name}.parquet", rows)
        for camera, parts in films.items() if pictures == "video" else ():
            folders = (f"observation.images.{camera}", "chunk-000")
            path = root.joinpath("videos", *(folders if v3 else folders[::-1]), f"{name}.mp4")
            write_video(path, np.concatenate(parts), fps)
    _write_meta(root, version, meta, _features(size, dims, cameras, pictures, frame_columns), fps, lengths)
    return root


def synthetic_numbers(episode: int, length: int, dims: tuple[int, int], *, seed: int = 0) -> tuple[Any, Any]:
    """State [T, S] and action [T, A], float32, of one made-up episode."""
    rng = np.random.default_rng([seed, episode])
    state, action = (rng.normal(size=(length, dim)).astype(np.float32) for dim in dims)
    return state, action


def synthetic_film(
    episode: int, length: int, size: tuple[int, int], camera: str = "front", *, seed: int = 0
) -> FrameArray:
    """[T, h, w, 3] of one made-up episode: no two frames are alike."""
    rng = np.random.default_rng([seed, episode, *camera.encode()])
    coarse = rng.integers(0, 256, size=(length, 4, 4, 3), dtype=np.uint8)
    rows, columns = np.arange(size[0]) * 4 // size[0], np.arange(size[1]) * 4 // size[1]
    return coarse[:, rows][:, :, columns]


def write_video(path: Path, frames: FrameArray, fps: float) -> None:
    """Writes frames [T, h, w, 3] as lossless mp4, a key frame every second frame."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264rgb", rate=round(fps), options={"qp": "0", "g": "2"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def _groups(count: int, *, v3: bool) -> list[list[int]]:
    if not v3:
        return [[e] for e in range(count)]
    return [list(range(count - 1)), [count - 1]] if count > 1 else [[0]]


def _png(frame: FrameArray) -> dict[str, Any]:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(frame).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _features(
    size: tuple[int, int],
    dims: tuple[int, int],
    cameras: Sequence[str],
    pictures: str,
    frame_columns: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    def scalar(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [1], "names": None}

    kinds = {bool: "bool", int: "int64", float: "float32", str: "string", list: "bool"}
    return {
        **{
            name: {"dtype": "float32", "shape": [dim], "names": [f"joint_{i}" for i in range(dim)]}
            for name, dim in zip(("observation.state", "action"), dims, strict=True)
        },
        **{
            f"observation.images.{camera}": {"dtype": pictures, "shape": [*size, 3], "names": ["height", "width", "c"]}
            for camera in cameras
        },
        **{name: scalar(kinds[type(column[0][0])]) for name, column in frame_columns.items()},
        "timestamp": scalar("float32"),
        **{name: scalar("int64") for name in ("frame_index", "episode_index", "index", "task_index")},
    }


def _write_meta(
    root: Path, version: str, meta: list[dict[str, Any]], features: Any, fps: float, lengths: Sequence[int]
) -> None:
    v3 = version == "v3.0"
    file, folder = ("file-{file_index:03d}", "chunk-{chunk_index:03d}")
    if not v3:
        file, folder = "episode_{episode_index:06d}", "chunk-{episode_chunk:03d}"
    info = {
        "codebase_version": version,
        "robot_type": "made_up_arm",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "chunks_size": 1000,
        "fps": fps,
        "data_path": f"data/{folder}/{file}.parquet",
        "video_path": f"videos/{{video_key}}/{folder}/{file}.mp4"
        if v3
        else f"videos/{folder}/{{video_key}}/{file}.mp4",
        "features": features,
    }
    if v3:
        _write_table(root / "meta" / "episodes" / "chunk-000" / "file-000.parquet", meta)
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    if not v3:
        lines = (json.dumps(row) for row in meta)
        (root / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
