"""One episode in one immutable file: a zarr v3 ZipStore whose members are stored, not deflated again.

The header (root attributes) holds the facts and the sha256 of every decoded array; the id is the sha256 of the header
without the software versions. So the id is proved by a few hundred bytes and each array proves itself when decoded: no
read returns bytes that were not committed. Must not know where files lie, the index, or any truth.

Members: zarr.json; state, action, intervened, and asked and stale where there is something to say (one chunk each);
frames/<camera> (FRAMES_PER_CHUNK frames a chunk); all through lossless zstd, or the frames as JPEG
(data/image_codec.py).
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.image_codec import JPEG_NAME, LOSSLESS, ImageCodec, jpeg_codec
from recap.errors import EpisodeCorrupt
from recap.hashing import canonical_json
from recap.types import BoolArray, Episode, EpisodeDraft, FloatArray, FrameArray, Source

FORMAT = 1
FRAMES_PER_CHUNK = 10
_ZSTD_LEVEL = 1
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_OPTIONAL = ("asked", "stale")
_FACTS = ("task", "robot", "source", "policy_id", "rate_hz", "start_seed", "renderer")
_OPTIONAL_FACTS = ("instruction",)
"""In the header, and in the id, of those episodes alone that have them."""
_REPAIR = "recap data repair"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The facts of an episode and the digest of each array: all that is known without decoding."""

    id: str
    facts: Mapping[str, Any]
    """task, robot, source, policy_id, rate_hz, start_seed, renderer; instruction, where it has one of its own."""
    arrays: Mapping[str, Mapping[str, Any]]
    """{name: {dtype, shape, sha256}}, names "state", "action", "intervened", "frames/<camera>", "asked", "stale"."""
    software: Mapping[str, str]

    @property
    def length(self) -> int:
        """T, control steps."""
        return int(self.arrays["state"]["shape"][0])

    @property
    def cameras(self) -> tuple[str, ...]:
        """Camera names, sorted."""
        return tuple(sorted(name.removeprefix("frames/") for name in self.arrays if name.startswith("frames/")))


def identity(facts: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Any]]) -> str:
    """The episode id (sha256 hex) of logical content: no codec, file layout or software version enters."""
    return hashlib.sha256(canonical_json({"format": FORMAT, "facts": facts, "arrays": arrays})).hexdigest()


def header_of(draft: EpisodeDraft) -> Header:
    """The header, with the id, that `draft` has once committed."""
    facts = {name: getattr(draft, name) for name in _FACTS}
    facts |= {name: value for name in _OPTIONAL_FACTS if (value := getattr(draft, name)) is not None}
    facts["source"] = draft.source.value
    facts["rate_hz"] = float(draft.rate_hz)
    facts["start_seed"] = None if draft.start_seed is None else int(draft.start_seed)
    arrays = {name: _describe(array) for name, array in _arrays(draft)}
    return Header(id=identity(facts, arrays), facts=facts, arrays=arrays, software=dict(draft.software))


def through_codec(draft: EpisodeDraft, codec: ImageCodec) -> EpisodeDraft:
    """The episode that a file in this codec will give back; `draft` itself if nothing is lost."""
    if codec.quality is None:
        return draft
    return replace(draft, frames={camera: codec.through(draft.frames[camera]) for camera in sorted(draft.frames)})


def encode(draft: EpisodeDraft, header: Header, codec: ImageCodec = LOSSLESS) -> bytes:
    """The bytes of the episode file. Equal drafts give equal bytes under one version of the codecs.

    Args:
        draft: as recorded, before any codec.
        header: of what the codec gives back (`through_codec`).
        codec: of the images.
    """
    import zarr
    from zarr.codecs import ZstdCodec
    from zarr.storage import MemoryStore

    members: dict[str, Any] = {}
    attributes = {
        "recap": {"format": FORMAT, "facts": header.facts, "arrays": header.arrays, "software": header.software}
    }
    root = zarr.create_group(MemoryStore(members), attributes=attributes)
    for name, array in _arrays(draft):
        zarr_array = root.create_array(
            name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=(min(FRAMES_PER_CHUNK, array.shape[0]), *array.shape[1:]) if array.ndim == 4 else array.shape,
            fill_value=0,
            **(codec.zarr_codecs(_ZSTD_LEVEL) if array.ndim == 4 else {"compressors": ZstdCodec(level=_ZSTD_LEVEL)}),
            # A chunk that is left out because it is all zero could not be told from a lost one.
            config={"write_empty_chunks": True},
        )
        zarr_array[...] = array
    return _zip({name: content.to_bytes() for name, content in members.items()})


def encode_again(path: Path, episode: Episode, header: Header) -> bytes:
    """The bytes of a new file for the episode in `path`, whose arrays were proved; JPEG images are not encoded anew."""
    with _naming(path, "frames"), zipfile.ZipFile(path) as archive:
        codecs = [json.loads(archive.read(f"frames/{camera}/zarr.json"))["codecs"] for camera in header.cameras]
        if not any(codec["name"] == JPEG_NAME for chain in codecs for codec in chain):
            return encode(episode, header)
        # What else lies in a file that came from outside stays there.
        wanted = {
            "zarr.json",
            "frames/zarr.json",
            *(name for array in header.arrays for name in _members(array, header.arrays[array])),
        }
        return _zip({name: archive.read(name) for name in wanted})


def read_header(path: Path) -> Header:
    """Reads and proves the header of the episode at `path`; decodes no array.

    Raises:
        EpisodeCorrupt: no readable zip, a member is missing, or the header does not give the id in the file name.
    """
    with _naming(path, "header"), zipfile.ZipFile(path) as archive:
        root = json.loads(archive.read("zarr.json"))["attributes"]["recap"]
        if root["format"] != FORMAT:
            raise EpisodeCorrupt(f"{path}: format {root['format']}, this version reads {FORMAT}", hint=_REPAIR)
        found = identity(root["facts"], root["arrays"])
        if found != path.stem:
            raise EpisodeCorrupt(f"{path}: header gives id {found}, the file name says {path.stem}", hint=_REPAIR)
        lacking = {*_FACTS, "state", "action", "intervened"} - {*root["facts"], *root["arrays"]}
        if lacking:
            raise EpisodeCorrupt(f"{path}: header lacks {', '.join(sorted(lacking))}", hint=_REPAIR)
        Source(root["facts"]["source"])
        _check_members(path, set(archive.namelist()), root["arrays"])
    return Header(id=found, facts=root["facts"], arrays=root["arrays"], software=root["software"])


def read_array(path: Path, header: Header, name: str) -> NDArray[Any]:
    """Decodes one array and proves it against its digest.

    Raises:
        EpisodeCorrupt: the decoded array is not the one committed.
    """
    import zarr
    from zarr.storage import ZipStore

    expected = header.arrays[name]
    jpeg_codec()  # zarr has to know it before it reads a file that names it
    with _naming(path, name), ZipStore(path, mode="r") as store:
        stored = zarr.open_array(store, path=name, mode="r")
        found = {"dtype": str(stored.dtype), "shape": list(stored.shape)}
        wanted = {"dtype": expected["dtype"], "shape": list(expected["shape"])}
        if found != wanted:
            raise EpisodeCorrupt(f"{path}: {name} is {found}, committed as {wanted}", hint=_REPAIR)
        array = np.asarray(stored[...])
        if _describe(array)["sha256"] != expected["sha256"]:
            raise EpisodeCorrupt(f"{path}: {name} is not what was committed (sha256 differs)", hint=_REPAIR)
    return array


def read_numbers(path: Path, header: Header) -> tuple[FloatArray, FloatArray, BoolArray]:
    """State [T, S], action [T, A] and intervened [T], proved; no image is decoded."""
    return (
        read_array(path, header, "state"),
        read_array(path, header, "action"),
        read_array(path, header, "intervened"),
    )


def read_episode(path: Path) -> Episode:
    """The episode at `path`: numbers are read and proved now, frames when they are asked for."""
    header = read_header(path)
    numbers = {name: read_array(path, header, name) for name in header.arrays if not name.startswith("frames/")}
    return assemble(header, numbers, StoredFrames(path, header))


def assemble(header: Header, numbers: Mapping[str, NDArray[Any]], frames: Mapping[str, FrameArray]) -> Episode:
    """The episode of a header, its arrays other than frames (by their names in the file), and its frames."""
    facts = dict(header.facts)
    facts["source"] = Source(facts["source"])
    return Episode(
        id=header.id,
        state=numbers["state"],
        action=numbers["action"],
        intervened=numbers["intervened"],
        asked=numbers.get("asked"),
        stale=numbers.get("stale"),
        frames=frames,
        software=header.software,
        **facts,
    )


class StoredFrames(Mapping[str, FrameArray]):
    """{camera: [T, h, w, 3]}, decoded and proved at each access and not kept: bind what is used twice to a name."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._header = header

    def __getitem__(self, camera: str) -> FrameArray:
        if f"frames/{camera}" not in self._header.arrays:
            raise KeyError(camera)
        return read_array(self._path, self._header, f"frames/{camera}")

    def __contains__(self, camera: object) -> bool:
        return camera in self._header.cameras

    def __iter__(self) -> Iterator[str]:
        return iter(self._header.cameras)

    def __len__(self) -> int:
        return len(self._header.cameras)


def _arrays(draft: EpisodeDraft) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "state", draft.state
    yield "action", draft.action
    yield "intervened", draft.intervened
    # Only where there is something to say: the ids of all other episodes are as they were before these were kept.
    for name in _OPTIONAL:
        if (array := getattr(draft, name)) is not None:
            yield name, array
    for camera in sorted(draft.frames):
        yield f"frames/{camera}", draft.frames[camera]


def _describe(array: NDArray[Any]) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest}


def _check_members(path: Path, present: set[str], arrays: Mapping[str, Mapping[str, Any]]) -> None:
    # zarr reads a missing chunk as zeros, so absence has to be found here.
    for name, described in arrays.items():
        wanted = _members(name, described)
        if not wanted <= present:
            raise EpisodeCorrupt(f"{path}: {name} lacks {sorted(wanted - present)[0]}", hint=_REPAIR)


def _members(name: str, described: Mapping[str, Any]) -> set[str]:
    shape = described["shape"]
    chunks = -(-shape[0] // FRAMES_PER_CHUNK) if len(shape) == 4 else 1
    zeros = "/".join(itertools.repeat("0", len(shape) - 1))
    return {f"{name}/c/{i}/{zeros}".rstrip("/") for i in range(chunks)} | {f"{name}/zarr.json"}


def _zip(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    # zarr's own ZipStore writes members in thread order with the time of day; sorted and undated, bytes are repeatable.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), members[name])
    return packed.getvalue()


@contextmanager
def _naming(path: Path, field: str) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError):
        # EpisodeCorrupt itself, or a machine in trouble (no permission, too many open files): no fault of the file.
        raise
    except Exception as error:  # zip, zarr, zstd and JSON raise a dozen types between them on damaged bytes
        raise EpisodeCorrupt(f"{path}: {field} unreadable: {type(error).__name__}: {error}", hint=_REPAIR) from error
