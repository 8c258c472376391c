"""The named actors of a RayExecutor: what is known of one, and of several that work together."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap.protocols import Place

_LAST_WORDS_BYTES = 2000


@dataclass(slots=True, eq=False)
class Seat:
    """One named actor and what it is doing now."""

    name: str
    actor: Any
    stderr: str
    pid: int
    node: str
    signature: bytes | None = None
    """Of the worker it holds; None: none that could serve again."""
    pending: Any = None
    """ObjectRef of the call in flight."""
    job: int | None = None
    """Index of the job in flight; None while it builds its worker."""


def last_words(seat: Seat) -> str:
    """The end of what the process wrote to stderr, where its file can be read from here."""
    path = Path(seat.stderr)
    if not seat.stderr or not path.is_file():
        return ""
    return path.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()


def places(seats: Sequence[Seat], address: str) -> list[Place]:
    """Of processes that work together, the first of which may listen on the address."""
    nodes = [seat.node for seat in seats]
    return [
        Place(rank=rank, world_size=len(seats), local_rank=nodes[:rank].count(node), address=address)
        for rank, node in enumerate(nodes)
    ]


def kill(actor: Any) -> None:
    """Also of a dead actor: Ray keeps the name of one that died by itself until it is killed by its owner."""
    import ray
    from ray.exceptions import RayError

    with contextlib.suppress(RayError):  # the cluster may be gone
        ray.kill(actor)
