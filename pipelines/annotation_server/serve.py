"""The annotation server from its first request to its summary. Owns the sitting's life; a person and HTTP drive it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http.server import ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import numpy as np

from data.annotation import LabelBook
from data.episode_file import Header, read_array
from data.episodes import EpisodeStore
from pipelines.annotation_server.film import Films, layout_of
from pipelines.annotation_server.queue import Queue
from pipelines.annotation_server.requests import Handler
from pipelines.annotation_server.session import AnnotationSession
from recap.errors import ConfigError, RecapError, UnknownName
from recap.types import BoolArray

LINGER_S = 15.0
"""Seconds that the finished page stays, so that the last choice can still be taken back."""
ADDRESS = "127.0.0.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotationSummary:
    """What a sitting gave."""

    labelled: int
    skipped: int
    left: int
    """Episodes of the queue that were not reached."""
    success: int
    failure: int
    aborted: int
    next_command: str


class AnnotationServer:
    """Serves one queue until it is empty (and a moment longer), or until `stop`.

    Example:
        with AnnotationServer(store, book, queue, by="ada") as server:
            print(server.url)
            server.wait()
        print(server.summary())
    """

    def __init__(
        self, store: EpisodeStore, book: LabelBook, queue: Queue, *, by: str, port: int = 0, linger_s: float = LINGER_S
    ) -> None:
        self.token = secrets.token_urlsafe(24)
        self.session = AnnotationSession(book, queue.episodes, by=by)
        self._queue = queue
        self._store = store
        self._films = Films(store)
        self._header = lru_cache(maxsize=1024)(store.header)
        self._linger_s = linger_s
        self._over = threading.Event()
        self._timer: threading.Timer | None = None
        self._timer_lock = threading.Lock()
        handler = type("BoundHandler", (Handler,), {"desk": self})
        try:
            self._http = ThreadingHTTPServer((ADDRESS, port), handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"--port {port}: cannot listen on {ADDRESS}: {error}", hint="recap annotate --port 0   (any free port)"
            ) from error
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True, name="annotate")

    def __enter__(self) -> AnnotationServer:
        self._thread.start()
        threading.Thread(target=self._prepare, daemon=True, name="annotate-first").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _prepare(self) -> None:
        """Makes the first film while the browser starts."""
        first = self.session.current()
        # What is wrong with it is said when the page asks for it.
        with suppress(RecapError, OSError):
            if first is not None:
                self.sheet(first, 0)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """The address to open; it holds the token."""
        return f"http://{ADDRESS}:{self.port}/{self.token}/"

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until the sitting is over; False if it is not within `timeout_s`."""
        # In short waits: a wait without end would keep Ctrl-C from this thread on some systems.
        if timeout_s is not None:
            return self._over.wait(timeout_s)
        while not self._over.wait(0.5):
            pass
        return True

    def stop(self) -> None:
        """Ends the sitting; what was chosen is on disk."""
        with self._timer_lock:
            if self._timer is not None:
                self._timer.cancel()
        self._over.set()

    def summary(self) -> AnnotationSummary:
        """What was done so far."""
        state = self.session.state()
        return AnnotationSummary(
            labelled=state["labelled"],
            skipped=state["skipped"],
            left=state["total"] - state["labelled"] - state["skipped"],
            next_command=self._queue.next_command,
            **state["outcomes"],
        )

    # What the request handler asks for (requests.Desk).

    def state(self) -> dict[str, Any]:
        """How far the sitting is."""
        return {
            **self.session.state(),
            "run": self._queue.run,
            "node": self._queue.node,
            "next_command": self._queue.next_command,
            "linger_s": self._linger_s,
        }

    def length(self, episode_id: str) -> int:
        """Steps of an episode."""
        return self._header(episode_id).length

    def sheet(self, episode_id: str, number: int) -> bytes:
        """A JPEG sheet of its film."""
        return self._films.sheet(episode_id, number)

    def describe(self, episode_id: str) -> dict[str, Any]:
        """Facts, task and film layout of an episode. Not the detector's verdict: a person judges alone."""
        header: Header = self._header(episode_id)
        intervened = read_array(self._store.path(episode_id), header, "intervened")
        return {
            "id": episode_id,
            **{name: header.facts[name] for name in ("task", "robot", "source", "policy_id", "rate_hz")},
            **_task_words(header.facts["task"]),
            # What this one was told comes before what its task says.
            **({"prompt": header.facts["instruction"]} if header.facts.get("instruction") else {}),
            "length": header.length,
            "human": spans(intervened),
            "layout": layout_of(header).to_json(),
        }

    def touched(self, *, leave: bool = False) -> None:
        """After a choice: the last one starts the clock that ends the sitting, an undo stops it."""
        with self._timer_lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if leave or self.session.finished:
                # Even a sitting that was left lives long enough to answer the request that said so.
                self._timer = threading.Timer(0.3 if leave else self._linger_s, self._over.set)
                self._timer.daemon = True
                self._timer.start()


def spans(flags: BoolArray) -> list[list[int]]:
    """[begin, end) of each run of True.

    Example:
        >>> spans(np.array([True, False, True, True]))
        [[0, 1], [2, 4]]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [[int(begin), int(end)] for begin, end in list(pairwise(edges))[::2]]


@lru_cache(maxsize=256)
def _task_words(task: str) -> dict[str, str | None]:
    """Prompt and success definition; None for a task that is not installed, as in imported recordings."""
    from data.tasks import TASKS

    try:
        spec = TASKS.get(task).spec
    except UnknownName:
        return {"prompt": None, "success": None}
    return {"prompt": spec.prompt, "success": spec.success}


Announce = Callable[[str], None]


def sit(
    store: EpisodeStore,
    book: LabelBook,
    queue: Queue,
    *,
    by: str,
    port: int = 0,
    linger_s: float = LINGER_S,
    announce: Announce,
) -> AnnotationSummary:
    """Serves `queue` until a person is done; `announce(url)` is called once the page can be opened."""
    with AnnotationServer(store, book, queue, by=by, port=port, linger_s=linger_s) as server:
        announce(server.url)
        server.wait()
        return server.summary()
