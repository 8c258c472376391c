"""Writes the LeRobotDataset folder of a plan: films with PyAV, tables with pyarrow, meta files of its version."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot_plans import CODECS, RATE_TOLERANCE, Plan

SIZE = (32, 48)
TASKS = ("put the cube into the box", "open the drawer", "wipe the table")
_MOVFLAGS = {
    "faststart": "faststart",
    "fragments": "frag_keyframe+empty_moov",
    "fragment_each": "frag_every_frame+empty_moov+default_base_moof",
    "late_moov": "frag_keyframe+delay_moov",
    "negative_cts": "negative_cts_offsets",
}


@dataclass
class _Episode:
    place: int
    """0, 1, 2, ... in the dataset."""
    number: int
    """Its episode_index."""
    length: int
    """Rows."""
    first: int = 0
    """Picture of its first row, counted in its film."""
    film: int = 0


@dataclass
class _Film:
    """Pictures in order, with the time of each on the grid of the rate (seconds; hidden ones below 0)."""

    grid: list[float]
    seen: list[float]
    """Times as they are read back, of the pictures that are not hidden."""

    def time(self, picture: int) -> float:
        return self.seen[max(picture - (len(self.grid) - len(self.seen)), 0)]


def numbers_of(plan: Plan) -> list[int]:
    """The episode_index of each episode."""
    return [2 * e + 1 if plan.gaps else e for e in range(len(plan.lengths))]


def write_folder(root: Path, plan: Plan) -> set[int]:
    """Writes the dataset to a folder that must not exist.

    Returns:
        Places of the episodes whose row times wander farther from the rate than an import allows.
    """
    rng = np.random.default_rng([7, plan.seed])
    episodes = [_Episode(e, n, plan.lengths[e]) for e, n in enumerate(numbers_of(plan))]
    films = {
        camera: _films(root, plan, episodes, camera, rng) if plan.pictures == "video" else []
        for camera in range(plan.cameras)
    }
    rows, entries, wandering = [], [], set()
    for episode in episodes:
        # All cameras of a plan have the same clock; the first one's is that of the rows.
        film = films[0][episode.film] if films[0] else None
        start, times = _times(plan, episode, film, rng)
        off = np.abs(np.array(times) - times[0] - np.arange(len(times)) / plan.fps) * plan.fps
        if off.max() > RATE_TOLERANCE:
            wandering.add(episode.place)
        tasks = _tasks(plan, episode)
        rows.append(_rows(plan, episode, times, tasks, rng))
        entries.append(_entry(plan, episode, rows[-1], start, times, tasks))
    _write_tables(root, plan, episodes, rows, entries)
    _write_meta(root, plan, entries)
    return wandering


# --- films -----------------------------------------------------------------------------------------------------------


def _films(root: Path, plan: Plan, episodes: list[_Episode], camera: int, rng: Any) -> list[_Film]:
    size = {"all": len(episodes), "pairs": 2, "none": 1}[plan.share]
    films = []
    for number, at in enumerate(range(0, len(episodes), size)):
        count = plan.cut + plan.spare[0]
        lost: list[int] = []
        for within, episode in enumerate(episodes[at : at + size]):
            episode.film = number
            if plan.again and within == 1:
                episode.first = episodes[at].first
                episode.length = min(episode.length, episodes[at].length)
                continue
            count += plan.spare[1] if within else 0
            # A front that was cut away from the rows is still in the film.
            episode.first = count + plan.kept
            count = episode.first + episode.length
            if plan.lost and episode.place == 0:
                lost.append(episode.first + 1)
        count += plan.spare[2]
        grid = np.arange(count) / plan.fps + (plan.late - plan.cut) / plan.fps
        if plan.damage == "jumps":
            grid[episodes[at].first + 2 :] += 0.5 / plan.fps
        wander = plan.vfr * rng.uniform(-1, 1, count) / plan.fps
        wander[np.abs(grid) < 0.5 / plan.fps] = 0  # what is hidden stays so, and nothing else
        grid = grid + wander
        path = root / _film_path(plan, episodes[at].number if plan.v2 else number, camera)
        content = np.random.default_rng([plan.seed, camera, number])
        seen = write_film(path, plan, grid.tolist(), lost, content)
        film = _Film(grid.tolist(), seen)
        if lost and seen:
            # Keeps the count: the lost picture's time is between its neighbours'.
            film.seen.insert(lost[0] - (len(grid) - 1 - len(seen)), float(grid[lost[0]]))
        films.append(film)
    return films


def write_film(path: Path, plan: Plan, times: list[float], lost: list[int], content: Any) -> list[float]:
    """Encodes pictures at `times`, those that are `lost` left out; returns the times at which they are read back."""
    encoder, options = CODECS[plan.codec]
    os.environ.setdefault("SVT_LOG", "0")  # libsvtav1 describes itself at every film
    rate = Fraction(plan.fps).limit_denominator(1001)
    base = Fraction(1, plan.scale) if plan.scale else 1 / rate
    ticks = [round(Fraction(time) / base) for time in times]
    for i in range(1, len(ticks)):
        ticks[i] = max(ticks[i], ticks[i - 1] + 1)
    first = ticks[0]
    flags = {"movflags": _MOVFLAGS[plan.container]} if plan.container in _MOVFLAGS else {}
    if plan.container == "no_edits":
        flags["use_editlist"] = "0"
    if plan.scale and plan.scale_kept:
        flags["video_track_timescale"] = str(plan.scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = (np.arange(side) * 4 // side for side in SIZE)
    with av.open(str(path), "w", format="mp4", options=flags) as container:
        stream: Any = container.add_stream(encoder, rate=rate, options={**options, "g": str(plan.group)})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        packets = []
        for i, tick in enumerate(ticks):
            coarse = content.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
            if i in lost:
                continue
            frame = av.VideoFrame.from_ndarray(coarse[rows][:, columns], format="rgb24")
            frame.pts, frame.time_base = tick - first, base
            packets += stream.encode(frame)
        packets += stream.encode()
        for packet in packets:
            shift = round(first * base / packet.time_base)
            packet.pts += shift
            packet.dts += shift
            container.mux(packet)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [float(frame.pts * stream.time_base) for frame in container.decode(stream)]


def _film_path(plan: Plan, number: int, camera: int) -> str:
    name = f"observation.images.cam{camera}"
    if plan.v2:
        return f"videos/chunk-000/{name}/episode_{number:06d}.mp4"
    return f"videos/{name}/chunk-000/file-{number:03d}.mp4"


# --- rows ------------------------------------------------------------------------------------------------------------


def _times(plan: Plan, episode: _Episode, film: _Film | None, rng: Any) -> tuple[float, list[float]]:
    """(place of the episode in its films, time of each row from there), seconds."""
    count, period = episode.length, 1 / plan.fps
    nominal = (plan.kept + np.arange(count)) * period
    if film is None:
        start, times = 0.0, nominal
    else:
        shown = plan.late if plan.late_told else 0
        pictures = range(episode.first, episode.first + count)
        origin = 0.0
        if not plan.v2:
            before = episode.first - plan.kept
            origin = film.time(before) if plan.times == "film" else (before - plan.cut + shown) * period
        start = max(origin, 0.0)
        if plan.times == "film" or plan.damage == "jumps":
            times = np.array([film.time(picture) for picture in pictures]) - start
        else:
            times = (np.array(pictures) - plan.cut + shown) * period - start
        if plan.from_int:
            times, start = times + (start - int(start)), int(start)
        if plan.damage == "beyond" and episode.place == 0:
            times = times + 2 * period
        if plan.damage == "before":
            start, times = start + period, times - period
    if plan.damage == "rates":
        times = times + 0.3 * period * rng.uniform(-1, 1, count)
    times = times + plan.jitter * rng.uniform(-1, 1, count)
    if plan.damage != "before":
        times = np.abs(times)
    return start, times.tolist()


def _tasks(plan: Plan, episode: _Episode) -> list[int]:
    """Which of TASKS each row was told."""
    usual = episode.place % 3 if plan.tasks != "one" else 0
    told = [usual] * episode.length
    if plan.tasks == "frame":
        some = (plan.seed + episode.place) % (episode.length + 1)
        told[:some] = [(usual + 1) % 3] * some
    return told


def _number_of_task(plan: Plan, task: int) -> int:
    return task + plan.task_numbers


def _rows(plan: Plan, episode: _Episode, times: list[float], tasks: list[int], rng: Any) -> list[dict[str, Any]]:
    rows = []
    for t in range(episode.length):
        row: dict[str, Any] = {
            "observation.state": rng.normal(size=3),
            "action": rng.normal(size=2),
            "timestamp": times[t],
            "frame_index": t + (plan.kept if plan.numbered_on else 0),
            "episode_index": episode.number,
            "task_index": _number_of_task(plan, tasks[t]),
        }
        if plan.pictures != "video":
            for camera in range(plan.cameras):
                row[f"observation.images.cam{camera}"] = {"bytes": _picture(plan, rng), "path": None}
        rows.append(row)
    if episode.place == 0:
        if plan.damage == "rows_permuted":
            rows[0], rows[1] = rows[1], rows[0]
        elif plan.damage == "row_twice":
            rows.insert(1, rows[0])
        elif plan.damage == "row_gone":
            del rows[1]
    return rows


def _picture(plan: Plan, rng: Any) -> bytes:
    from PIL import Image

    image = Image.fromarray(rng.integers(0, 256, size=(*SIZE, 3), dtype=np.uint8))
    if plan.pictures == "grey":
        image = image.convert("L")
    elif plan.damage == "rgba":
        image.putalpha(128)
    content = io.BytesIO()
    image.save(content, "JPEG" if plan.pictures == "JPEG" else "PNG")
    return content.getvalue()


# --- tables and meta -------------------------------------------------------------------------------------------------


def _entry(
    plan: Plan, episode: _Episode, rows: list[Any], start: float, times: list[float], tasks: list[int]
) -> dict[str, Any]:
    told = [TASKS[task] for task in dict.fromkeys(tasks)]
    length = len(rows) + (1 if plan.damage == "length" and episode.place == 0 else 0)
    entry: dict[str, Any] = {"episode_index": episode.number, "tasks": told, "length": length}
    if plan.v2 or plan.pictures != "video":
        return entry
    end = start + times[-1] + 1 / plan.fps
    if plan.damage == "end_first":
        end = start - 1 / plan.fps
    for camera in range(plan.cameras):
        prefix = f"videos/observation.images.cam{camera}"
        entry |= {f"{prefix}/chunk_index": 0, f"{prefix}/file_index": episode.film, f"{prefix}/from_timestamp": start}
        if plan.end != "absent":
            entry[f"{prefix}/to_timestamp"] = int(np.ceil(end)) if plan.end == "int" else end
    return entry


def _write_tables(root: Path, plan: Plan, episodes: list[_Episode], rows: list[Any], entries: list[Any]) -> None:
    files: dict[int, list[list[Any]]] = {}
    for episode, of_episode, entry in zip(episodes, rows, entries, strict=True):
        number = episode.number if plan.v2 else episode.place * min(plan.tables, len(episodes)) // len(episodes)
        files.setdefault(number, []).append(of_episode)
        if not plan.v2:
            entry |= {"data/chunk_index": 0, "data/file_index": number}
    if plan.damage == "two_tables":
        whole = files[0][0]
        files[0][0], files[max(files) + 1] = whole[:1], [whole[1:]]
    index = 0
    for number, parts in sorted(files.items()):
        one_by_one = [row for part in parts for row in part]
        if plan.interleaved:
            # Rows of each episode keep their order.
            place = {id(row): (t, e) for e, part in enumerate(parts) for t, row in enumerate(part)}
            one_by_one.sort(key=lambda row: place[id(row)])
        for row in one_by_one:
            row["index"] = index
            index += 1
        name = f"episode_{number:06d}" if plan.v2 else f"file-{number:03d}"
        path = root / f"data/chunk-000/{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_table(plan, one_by_one), path, row_group_size=plan.row_groups or None)


def _table(plan: Plan, rows: list[dict[str, Any]]) -> pa.Table:
    number = pa.from_numpy_dtype(np.dtype(plan.number_type))
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in ("observation.state", "action"):
            kind = pa.list_(number, len(values[0])) if plan.fixed_lists else pa.list_(number)
            columns[name] = pa.array([np.asarray(value, dtype=plan.number_type).tolist() for value in values], kind)
        elif name == "timestamp":
            times = np.asarray(values)
            columns[name] = pa.array((np.rint(times) if plan.time_type == "int64" else times).astype(plan.time_type))
        elif isinstance(values[0], dict):
            columns[name] = pa.array(values, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        else:
            columns[name] = pa.array(values, pa.int64())
    return pa.table(columns)


def _write_meta(root: Path, plan: Plan, entries: list[dict[str, Any]]) -> None:
    meta = root / "meta"
    meta.mkdir(parents=True, exist_ok=True)
    (meta / "info.json").write_text(json.dumps(_info(plan, entries)))
    tasks = [(_number_of_task(plan, task), text) for task, text in enumerate(TASKS)]
    if plan.v2:
        lines = {
            "episodes": entries,
            "tasks": [{"task_index": index, "task": text} for index, text in tasks],
            "episodes_stats": [{"episode_index": entry["episode_index"], "stats": _stats()} for entry in entries],
        }
        if plan.version == "v2.0":
            del lines["episodes_stats"]
            (meta / "stats.json").write_text(json.dumps(_stats()))
        for name, rows in lines.items():
            (meta / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return
    import pandas as pd

    if plan.damage == "tasks_permuted":
        tasks = tasks[1:] + tasks[:1]
    index = pd.Index([text for _, text in tasks], name="task")
    pd.DataFrame({"task_index": [number for number, _ in tasks]}, index=index).to_parquet(meta / "tasks.parquet")
    before = 0
    for entry in entries:
        entry["dataset_from_index"], before = before, before + entry["length"]
        entry["dataset_to_index"] = before
    if plan.damage == "meta_permuted":
        entries = entries[1:] + entries[:1]
    size = -(-len(entries) // plan.metas)
    for number, at in enumerate(range(0, len(entries), size)):
        path = meta / f"episodes/chunk-000/file-{number:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(entries[at : at + size]), path)


def _info(plan: Plan, entries: list[dict[str, Any]]) -> dict[str, Any]:
    said = plan.number_type if plan.seed % 2 else "float32"
    features: dict[str, Any] = {
        "observation.state": {"dtype": said, "shape": [3], "names": ["x", "y", "z"]},
        "action": {"dtype": said, "shape": [2], "names": None},
    }
    for camera in range(plan.cameras):
        kind = "video" if plan.pictures == "video" else "image"
        features[f"observation.images.cam{camera}"] = {
            "dtype": kind,
            "shape": [*SIZE, 3],
            "names": ["height", "width", "channels"],
        }
    features["timestamp"] = {"dtype": plan.time_said, "shape": [1], "names": None}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    info = {
        "codebase_version": plan.version,
        "robot_type": "arm",
        "fps": int(plan.fps) if plan.whole else float(plan.fps),
        "total_episodes": len(entries),
        "total_frames": sum(entry["length"] for entry in entries),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "splits": {"train": f"0:{len(entries)}"},
        "features": features,
    }
    if plan.v2:
        return info | {
            "total_chunks": 1,
            "total_videos": len(entries) * plan.cameras if plan.pictures == "video" else 0,
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        }
    return info | {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
    }


def _stats() -> dict[str, Any]:
    one = {"min": [0.0] * 3, "max": [1.0] * 3, "mean": [0.5] * 3, "std": [0.1] * 3, "count": [4]}
    return {"observation.state": one}


def without_gaps(plan: Plan) -> Plan:
    """The same dataset, its episodes numbered 0, 1, 2, ...: what LeRobot can open."""
    return dataclasses.replace(plan, gaps=False)
