"""The frame cache: the images of episodes in one size, with their numbers, laid out for random access.

Each (episode, cameras, image size) is packed once, and so is each (episode, encoder, cameras, image size) of latents;
a set of episodes is a view over these shards, whatever other sets share them. Derived from the store and made again
from it at any time. Must not know batches, labels or models. How shards lie on disk: data/shards.py.

Example:
    view = FrameCache(workspace.cache).view(store, ids, cameras=("cam_high",), image_size=(224, 224))
    view.gather(np.array([5, 17]))          # [2, 1, 224, 224, 3] uint8
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.index import EpisodeRow
from data.resize import letterbox
from data.rows import Rows
from data.segments import Held, Table
from data.shards import Columns, Progress, Shards
from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import canonical_json
from recap.types import BoolArray, FloatArray, FrameArray, IntArray

FORMAT = 2
DEFAULT_MAX_BYTES = 64 * 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """What one row of a view holds; a folder of shards per layout."""

    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    state_dim: int
    action_dim: int

    @property
    def table(self) -> Table:
        numbers = np.dtype(
            [("state", "<f4", (self.state_dim,)), ("action", "<f4", (self.action_dim,)), ("intervened", "?")]
        )
        images = np.dtype((np.uint8, (len(self.cameras), *self.image_size, 3)))
        facts = [FORMAT, list(self.cameras), list(self.image_size), self.state_dim, self.action_dim]
        # The numbers are small, kept in memory and gathered at random: they are proved whenever they are opened.
        return Table(
            name=_folder("frames", self.image_size, facts),
            columns={"images": images, "numbers": numbers},
            proved=("numbers",),
        )

    def latents(self, encoder: str, views: Sequence[int], shape: tuple[int, ...]) -> Table:
        cameras = [self.cameras[view] for view in views]
        facts = [FORMAT, encoder, cameras, list(self.image_size), list(shape)]
        latents = np.dtype((np.dtype("<f4"), (len(cameras), *shape)))
        return Table(name=_folder("latents", self.image_size, facts), columns={"latents": latents})


class FrameView:
    """N frames of E episodes, in the order of the episode ids. Read-only; picklable; keeps its shards from removal.

    Attributes:
        images: [N, C, h, w, 3] uint8 on disk; C in the order of `cameras`.
        state: [N, S] float32.
        action: [N, A] float32.
        intervened: [N] bool.
        offsets: [E + 1] int64; episode e holds rows offsets[e] to offsets[e + 1].
        episode_of: [N] int64, the episode of each row.
        episode_ids: E ids, sorted.
        cameras: C names.
    """

    images: Rows
    state: FloatArray
    action: FloatArray
    intervened: BoolArray
    offsets: IntArray
    episode_of: IntArray
    episode_ids: tuple[str, ...]
    cameras: tuple[str, ...]

    def __init__(self, shards: Shards, layout: _Layout, lengths: Mapping[str, int], held: Held) -> None:
        """Opened by `FrameCache.view`."""
        self._shards, self._layout, self._lengths, self._held = shards, layout, dict(lengths), held
        self.episode_ids, self.cameras = tuple(lengths), layout.cameras
        self.offsets = np.cumsum([0, *lengths.values()], dtype=np.int64)
        self.episode_of = np.repeat(np.arange(len(lengths), dtype=np.int64), np.diff(self.offsets))
        self.images = held.rows("images", self.episode_ids, self.offsets)
        numbers = held.rows("numbers", self.episode_ids, self.offsets).joined()
        self.state, self.action, self.intervened = (_frozen(numbers[n]) for n in ("state", "action", "intervened"))

    def __reduce__(self) -> tuple[Callable[..., FrameView], tuple[Any, ...]]:
        return _open, (self._shards.root, self._shards.max_bytes, self._layout, self._lengths)

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """(h, w) in pixels."""
        return self._layout.image_size

    def rows_of(self, episode_id: str) -> slice:
        """The rows of one episode; ConfigError if the view does not hold it."""
        place = int(np.searchsorted(self.episode_ids, episode_id))
        if place == len(self.episode_ids) or self.episode_ids[place] != episode_id:
            raise ConfigError(f"episode {episode_id} is not among the {len(self.episode_ids)} of this view")
        return slice(int(self.offsets[place]), int(self.offsets[place + 1]))

    def gather(self, rows: NDArray[np.integer[Any]], views: IntArray | None = None) -> FrameArray:
        """Images [n, V, h, w, 3] of these rows, in this order; all cameras, or those at positions `views` [V]."""
        every = views is None or np.array_equal(views, np.arange(len(self.cameras)))
        return self.images.take(rows, None if every else views)

    def latents(
        self,
        encoder: str,
        encode: Callable[[FrameArray], FloatArray],
        *,
        shape: tuple[int, ...],
        views: IntArray,
        episodes: Iterable[int],
        batch: int,
        progress: Progress | None = None,
    ) -> Rows:
        """Latents [N, V, *shape] float32, of which the rows of `episodes` can be read; each is encoded once, ever.

        Args:
            encoder: digest of the weights and settings that make a latent from an image.
            encode: [n, V, h, w, 3] uint8 -> [n, V, *shape] float32.
            shape: of one latent frame.
            views: positions in `cameras`.
            episodes: positions in `episode_ids`.
            batch: images that `encode` is given at once, never of two episodes.
            progress: called with (episodes encoded, episodes to encode).
        """
        ids = [self.episode_ids[e] for e in sorted(set(episodes))]

        def make(episode: str) -> Columns:
            rows = np.arange(*self.rows_of(episode).indices(self.num_frames))
            pieces = [encode(self.gather(rows[at : at + batch], views)) for at in range(0, len(rows), batch)]
            return {"latents": np.concatenate(pieces)}

        table = self._layout.latents(encoder, views.tolist(), shape)
        held = self._shards.open(table, {e: self._lengths[e] for e in ids}, make, progress)
        return held.rows("latents", self.episode_ids, self.offsets)

    def verify(self) -> list[str]:
        """Reads every byte; "episode column" of all that is not what was packed (none if all is well)."""
        return self._held.verify()


class FrameCache:
    """All that is packed under `root`, by any number of processes."""

    def __init__(self, root: str | Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Takes the cap of everything under `root`; what was unused for longest is dropped to stay below it."""
        self._shards = Shards(Path(root), max_bytes)

    def view(
        self,
        store: EpisodeStore,
        ids: EpisodeSet | Iterable[str],
        *,
        cameras: Sequence[str] | None = None,
        image_size: tuple[int, int] | None = None,
        allow_mixed_renderers: bool = False,
        progress: Progress | None = None,
    ) -> FrameView:
        """The frames of these episodes; those that are not packed yet, or torn, are packed first.

        Args:
            store: Where the episodes are.
            ids: Which ones; order and repeats do not matter.
            cameras: Which cameras, in which order; None takes all, sorted by name.
            image_size: (h, w) to letterbox every image to; None keeps the recorded size, which must be one size.
            allow_mixed_renderers: Accept images of different renderers in one view.
            progress: Called with (episodes packed, episodes to pack) while packing.

        Raises:
            ConfigError: no episode; robots, cameras, image sizes, dimensions or renderers that differ; over the cap.
            EpisodeCorrupt: an episode is not what was committed.
        """
        rows = store.rows(ids)
        layout = _layout_of(rows, cameras, image_size, allow_mixed_renderers=allow_mixed_renderers)
        height, width = layout.image_size
        table = layout.table

        def make(episode_id: str) -> Columns:
            episode = store.load(episode_id)
            images = np.empty((episode.length, len(layout.cameras), height, width, 3), dtype=np.uint8)
            for c, camera in enumerate(layout.cameras):
                images[:, c] = letterbox(episode.frames[camera], height, width)
            numbers = np.empty(episode.length, dtype=table.columns["numbers"])
            numbers["state"], numbers["action"] = episode.state, episode.action
            numbers["intervened"] = episode.intervened
            return {"images": images, "numbers": numbers}

        lengths = {row.id: row.length for row in rows}
        return FrameView(self._shards, layout, lengths, self._shards.open(table, lengths, make, progress))


def check_pack(
    rows: Sequence[EpisodeRow],
    *,
    image_size: tuple[int, int],
    cameras: Sequence[str],
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> None:
    """Raises ConfigError if `FrameCache.view` would refuse these episodes for what their rows say."""
    layout = _layout_of(rows, cameras, image_size, allow_mixed_renderers=False)
    frames = sum(row.length for row in rows)
    Shards(Path(), max_bytes).check_room(len(rows), frames * layout.table.row_bytes)


def _open(root: Path, max_bytes: int, layout: _Layout, lengths: Mapping[str, int]) -> FrameView:
    """A view in another process, of the shards that the first one holds."""

    def gone(episode_id: str) -> NoReturn:
        raise ArtifactCorrupt(
            f"frame cache {root}: episode {episode_id} is no longer packed; the view it was sent from was closed",
            hint="keep the view open where it was made, or open it with FrameCache.view",
        )

    shards = Shards(root, max_bytes)
    return FrameView(shards, layout, lengths, shards.open(layout.table, lengths, gone))


def _layout_of(
    rows: Sequence[EpisodeRow],
    cameras: Sequence[str] | None,
    image_size: tuple[int, int] | None,
    *,
    allow_mixed_renderers: bool,
) -> _Layout:
    """What a view of these episodes holds, checked before a byte is decoded."""
    if not rows:
        raise ConfigError("frame cache: a view of no episode")
    # Cameras that nobody asked for may differ.
    for fact in ("robot", "state_dim", "action_dim", "rate_hz", *(["cameras"] if cameras is None else [])):
        _same(rows, fact)
    if not allow_mixed_renderers:
        _same(rows, "renderer", hint="train on episodes of one renderer")
    chosen = tuple(cameras) if cameras is not None else rows[0].cameras
    without = next((row for row in rows if set(chosen) - set(row.cameras)), None)
    if without is not None or not chosen or len(set(chosen)) != len(chosen):
        has = (without or rows[0]).cameras
        raise ConfigError(f"cameras {chosen}: expected some of {has}, each once")
    if image_size is None:
        sizes = {row.image_sizes[row.cameras.index(camera)] for row in rows for camera in chosen}
        if len(sizes) > 1:
            raise ConfigError(f"images of sizes {sorted(sizes)} in one view", hint="give image_size=(h, w)")
        image_size = sizes.pop()
    height, width = image_size
    if height < 1 or width < 1:
        raise ConfigError(f"image_size {image_size}, expected pixels >= 1")
    return _Layout(
        cameras=chosen, image_size=(height, width), state_dim=rows[0].state_dim, action_dim=rows[0].action_dim
    )


def _same(rows: Sequence[EpisodeRow], fact: str, *, hint: str = "") -> None:
    first: dict[Any, str] = {}
    for row in rows:
        first.setdefault(getattr(row, fact), row.id)
    if len(first) > 1:
        listed = ", ".join(f"{value!r} (episode {episode_id[:12]})" for value, episode_id in first.items())
        raise ConfigError(f"one view cannot mix {fact}: {listed}", hint=hint)


def _folder(kind: str, image_size: tuple[int, int], facts: Sequence[Any]) -> str:
    return f"{kind}-{image_size[0]}x{image_size[1]}-{hashlib.sha256(canonical_json(facts)).hexdigest()[:24]}"


def _frozen(numbers: NDArray[Any]) -> NDArray[Any]:
    """One field of the joined numbers as an array of its own: strided gathers are slow."""
    array = np.ascontiguousarray(numbers)
    array.flags.writeable = False
    return array
