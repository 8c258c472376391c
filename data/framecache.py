"""The packed cache: every frame of a set of episodes as one uint8 memory map, with the numbers beside it.

Derived from the store and rebuildable from it at any time; its folder is named by its content (episodes, cameras, image
size), appears by one rename, and is built once however many processes ask. Must not know batches or labels.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.index import EpisodeRow
from data.resize import letterbox
from recap import faults
from recap.errors import ConfigError
from recap.files import TMP_PREFIX, sync
from recap.hashing import canonical_json
from recap.types import BoolArray, FloatArray, FrameArray, IntArray

FORMAT = 1
DEFAULT_MAX_BYTES = 64 * 2**30
_ARRAYS = ("images", "state", "action", "intervened", "offsets")
_log = logging.getLogger(__name__)


class PackedExperience:
    """N frames of E episodes, in the order of the episode ids. Read-only; picklable by its path.

    Attributes:
        images: [N, C, h, w, 3] uint8, memory-mapped; C in the order of `cameras`.
        state: [N, S] float32.
        action: [N, A] float32.
        intervened: [N] bool.
        offsets: [E + 1] int64; episode e holds rows offsets[e] to offsets[e + 1].
        episode_of: [N] int64, the episode of each row.
        episode_ids: E ids, sorted.
        cameras: C names.
    """

    images: FrameArray
    state: FloatArray
    action: FloatArray
    intervened: BoolArray
    offsets: IntArray
    episode_of: IntArray
    episode_ids: tuple[str, ...]
    cameras: tuple[str, ...]

    def __init__(self, path: Path) -> None:
        """Opens the pack at `path`; raises Torn (a ValueError) if it is not whole."""
        self.path = Path(path)
        manifest = _read_manifest(self.path)
        arrays = {name: _open(self.path, name, manifest) for name in _ARRAYS}
        self.images, self.state, self.action = arrays["images"], arrays["state"], arrays["action"]
        self.intervened, self.offsets = arrays["intervened"], arrays["offsets"]
        self.episode_ids = tuple(manifest["content"]["episodes"])
        self.cameras = tuple(manifest["content"]["cameras"])
        self.episode_of = np.repeat(np.arange(len(self.episode_ids), dtype=np.int64), np.diff(self.offsets))

    def __reduce__(self) -> tuple[type[PackedExperience], tuple[Path]]:
        return PackedExperience, (self.path,)

    @property
    def num_frames(self) -> int:
        """N."""
        return int(self.images.shape[0])

    def rows_of(self, episode_id: str) -> slice:
        """The rows of one episode; ConfigError if the pack does not hold it."""
        if episode_id not in self.episode_ids:
            raise ConfigError(f"episode {episode_id} is not among the {len(self.episode_ids)} of pack {self.path}")
        e = self.episode_ids.index(episode_id)
        return slice(int(self.offsets[e]), int(self.offsets[e + 1]))

    def verify(self) -> list[str]:
        """Reads every byte; the names of the arrays that are not what was built (none if all is well)."""
        recorded = _read_manifest(self.path)["files"]
        return [name for name in _ARRAYS if _sha256(self.path / f"{name}.npy") != recorded[name]["sha256"]]

    @classmethod
    def build(
        cls,
        store: EpisodeStore,
        ids: EpisodeSet | Iterable[str],
        cache_root: Path,
        *,
        image_size: tuple[int, int] | None = None,
        cameras: Sequence[str] | None = None,
        allow_mixed_renderers: bool = False,
        max_bytes: int = DEFAULT_MAX_BYTES,
        progress: Callable[[int, int], None] | None = None,
    ) -> PackedExperience:
        """Opens the pack of these episodes under `cache_root`, building it if it is not there or torn.

        Args:
            store: Where the episodes are.
            ids: Which ones; order and repeats do not matter.
            cache_root: Folder of packs, shared by any number of processes.
            image_size: (h, w) to letterbox every image to; None keeps the recorded size, which must be one size.
            cameras: Which cameras, in which order; None takes all, sorted by name.
            allow_mixed_renderers: Accept images of different renderers in one pack.
            max_bytes: Cap on all packs under `cache_root`; packs unused for longest are dropped to make room.
            progress: Called with (episodes done, episodes in all) while building.

        Raises:
            ConfigError: no episode; robots, cameras, image sizes, dimensions or renderers that differ; over the cap.
            EpisodeCorrupt: an episode is not what was committed.
        """
        rows = store.rows(ids)
        plan = _Plan(rows, image_size=image_size, cameras=cameras, allow_mixed_renderers=allow_mixed_renderers)
        final = Path(cache_root) / plan.key
        with _locked(Path(cache_root), plan.key):
            if final.is_dir():
                try:
                    pack = cls(final)
                except Torn as torn:
                    _log.warning("packed cache %s is torn (%s): built again", final, torn)
                    shutil.rmtree(final)
                else:
                    os.utime(final)
                    return pack
            _make_room(Path(cache_root), plan, max_bytes)
            _build(store, plan, final, progress)
            return cls(final)


def check_pack(
    rows: Sequence[EpisodeRow],
    *,
    image_size: tuple[int, int],
    cameras: Sequence[str],
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> None:
    """Raises ConfigError if `PackedExperience.build` would refuse these episodes for what their rows say."""
    plan = _Plan(rows, image_size=image_size, cameras=cameras, allow_mixed_renderers=False)
    plan.check_room(max_bytes)


class Torn(ValueError):
    """A pack on disk is not whole. Never leaves `PackedExperience.build`, which builds it again."""


class _Plan:
    """What a pack will hold, checked before a byte is decoded."""

    def __init__(
        self,
        rows: Sequence[EpisodeRow],
        *,
        image_size: tuple[int, int] | None,
        cameras: Sequence[str] | None,
        allow_mixed_renderers: bool,
    ) -> None:
        if not rows:
            raise ConfigError("packed cache of no episode")
        # Cameras that nobody asked for may differ.
        for fact in ("robot", "state_dim", "action_dim", "rate_hz", *(["cameras"] if cameras is None else [])):
            _same(rows, fact)
        if not allow_mixed_renderers:
            _same(rows, "renderer", hint="train on episodes of one renderer")
        self.rows = rows
        self.cameras = tuple(cameras) if cameras is not None else rows[0].cameras
        without = next((row for row in rows if set(self.cameras) - set(row.cameras)), None)
        if without is not None or not self.cameras or len(set(self.cameras)) != len(self.cameras):
            has = (without or rows[0]).cameras
            raise ConfigError(f"cameras {self.cameras}: expected some of {has}, each once")
        if image_size is None:
            sizes = {size for row in rows for size in _sizes(row, self.cameras)}
            if len(sizes) > 1:
                raise ConfigError(f"images of sizes {sorted(sizes)} in one pack", hint="give image_size=(h, w)")
            image_size = sizes.pop()
        self.height, self.width = image_size
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"image_size {image_size}, expected pixels >= 1")

    @property
    def num_frames(self) -> int:
        return sum(row.length for row in self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.num_frames, len(self.cameras), self.height, self.width, 3)

    @property
    def bytes(self) -> int:
        row = self.rows[0]
        return int(np.prod(self.shape)) + self.num_frames * (4 * (row.state_dim + row.action_dim) + 1)

    def check_room(self, max_bytes: int) -> None:
        """ConfigError if it alone is more than the cap of all packs."""
        if self.bytes > max_bytes:
            raise ConfigError(
                f"packed cache of {len(self.rows)} episodes needs {self.bytes / 2**30:.2f} GiB, "
                f"the cap is {max_bytes / 2**30:.2f} GiB",
                hint="use fewer episodes, or smaller pictures",
            )

    @property
    def content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "episodes": [row.id for row in self.rows],
            "cameras": list(self.cameras),
            "image_size": [self.height, self.width],
        }

    @property
    def key(self) -> str:
        return hashlib.sha256(canonical_json(self.content)).hexdigest()[:32]


def _same(rows: Sequence[EpisodeRow], fact: str, *, hint: str = "") -> None:
    first: dict[Any, str] = {}
    for row in rows:
        first.setdefault(getattr(row, fact), row.id)
    if len(first) > 1:
        listed = ", ".join(f"{value!r} (episode {episode_id[:12]})" for value, episode_id in first.items())
        raise ConfigError(f"one pack cannot mix {fact}: {listed}", hint=hint)


def _sizes(row: EpisodeRow, cameras: Sequence[str]) -> set[tuple[int, int]]:
    return {row.image_sizes[row.cameras.index(camera)] for camera in cameras}


def _build(store: EpisodeStore, plan: _Plan, final: Path, progress: Callable[[int, int], None] | None) -> None:
    tmp = final.parent / f"{TMP_PREFIX}{final.name}.{os.getpid()}.{os.urandom(4).hex()}"
    tmp.mkdir()
    try:
        states, actions, human = [], [], []
        with _NpyWriter(tmp / "images.npy", plan.shape, np.dtype(np.uint8)) as images:
            for done, row in enumerate(plan.rows, start=1):
                episode = store.load(row.id)
                states.append(episode.state)
                actions.append(episode.action)
                human.append(episode.intervened)
                stack = np.empty((row.length, *plan.shape[1:]), dtype=np.uint8)
                for c, camera in enumerate(plan.cameras):
                    stack[:, c] = letterbox(episode.frames[camera], plan.height, plan.width)
                images.append(stack)
                if progress:
                    progress(done, len(plan.rows))
        offsets = np.cumsum([0, *(row.length for row in plan.rows)]).astype(np.int64)
        numbers = {
            "state": np.concatenate(states),
            "action": np.concatenate(actions),
            "intervened": np.concatenate(human),
            "offsets": offsets,
        }
        files = {"images": images.described}
        for name, array in numbers.items():
            with _NpyWriter(tmp / f"{name}.npy", array.shape, array.dtype) as writer:
                writer.append(array)
            files[name] = writer.described
        manifest = tmp / "manifest.json"
        with manifest.open("wb") as file:
            file.write(canonical_json({"content": plan.content, "files": files}))
            file.flush()
            os.fsync(file.fileno())
        sync(tmp)
        faults.point("framecache.before_commit")
        tmp.rename(final)
        sync(final.parent)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise


class _NpyWriter:
    """Writes one .npy of known shape front to back, hashing as it goes, and fsyncs at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = path.open("w+b")
        self._shape, self._dtype = shape, dtype
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.seek(0)
        self._hash = hashlib.sha256(self._file.read())
        self._left = int(np.prod(shape)) * dtype.itemsize

    def append(self, rows: np.ndarray[Any, Any]) -> None:
        view = np.ascontiguousarray(rows).data
        self._file.write(view)
        self._hash.update(view)
        self._left -= view.nbytes

    def __enter__(self) -> _NpyWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            assert self._left == 0, f"{self._file.name}: {self._left} bytes short of its shape {self._shape}"
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()

    @property
    def described(self) -> dict[str, Any]:
        return {
            "shape": list(self._shape),
            "dtype": str(self._dtype),
            "bytes": Path(self._file.name).stat().st_size,
            "sha256": self._hash.hexdigest(),
        }


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_bytes())
        wanted = hashlib.sha256(canonical_json(manifest["content"])).hexdigest()[:32]
    except (OSError, ValueError, KeyError) as error:
        raise Torn(f"{path}: manifest unreadable: {error}") from error
    if wanted != path.name:
        raise Torn(f"{path}: manifest is of pack {wanted}")
    return manifest


def _open(path: Path, name: str, manifest: dict[str, Any]) -> Any:
    file, described = path / f"{name}.npy", manifest["files"][name]
    try:
        size = file.stat().st_size
        if size != described["bytes"]:
            raise Torn(f"{file}: {size} bytes, expected {described['bytes']}")
        if name != "images" and _sha256(file) != described["sha256"]:
            raise Torn(f"{file}: sha256 differs")
        # The numbers are small and gathered at random: kept in memory. Images stay in the page cache.
        array = np.load(file, mmap_mode="r" if name == "images" else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Torn(f"{file}: {error}") from error
    if list(array.shape) != described["shape"] or str(array.dtype) != described["dtype"]:
        raise Torn(f"{file}: {array.dtype} {array.shape}, expected {described['dtype']} {described['shape']}")
    # A plain view: indexing an np.memmap costs more than the copy it makes.
    plain = np.asarray(array)
    plain.flags.writeable = False
    return plain


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(cache_root: Path, key: str) -> Iterator[None]:
    """One builder per pack: others wait and then find it built. The lock dies with its process."""
    cache_root.mkdir(parents=True, exist_ok=True)
    with (cache_root / f"{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for leftover in cache_root.glob(f"{TMP_PREFIX}{key}.*"):
            shutil.rmtree(leftover)  # the lock is ours, so its builder is dead
        yield


def _make_room(cache_root: Path, plan: _Plan, max_bytes: int) -> None:
    plan.check_room(max_bytes)
    packs = []
    for path in cache_root.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if (path / "manifest.json").is_file():
                packs.append((path.stat().st_mtime_ns, sum(f.stat().st_size for f in path.iterdir()), path))
    total = sum(size for _, size, _ in packs)
    for _, size, path in sorted(packs):
        if total + plan.bytes <= max_bytes:
            break
        # Processes that have it mapped keep their pages; anyone else builds it again.
        _log.info("packed cache %s dropped to make room (unused for longest)", path)
        shutil.rmtree(path)
        total -= size
