"""HTTP of the annotation page: who may ask, what can be asked, how it is answered.

Every request needs the token in its path and a loopback Host (a web page that rebinds its name to 127.0.0.1 sends its
own name); a POST must be JSON from the page's own origin. Paths are matched whole against three files and a few
patterns: no part of a path ever reaches the file system, and an episode id must be one of the queue.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from recap.errors import ConfigError, Corrupt, UnknownName
from recap.types import Annotation, KeyFrame, Outcome

if TYPE_CHECKING:
    from pipelines.annotation_server.session import AnnotationSession

BODY_LIMIT = 64 * 1024
NOTE_LIMIT = 2000
TEXT_LIMIT = 200
KEY_FRAME_LIMIT = 500
_STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
_EPISODE = re.compile(r"api/episode/([0-9a-f]{64})")
_SHEET = re.compile(r"api/film/([0-9a-f]{64})/([0-9]{1,6})\.jpg")
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Desk(Protocol):
    """What the handler needs of the server behind it."""

    token: str
    session: AnnotationSession

    def state(self) -> dict[str, Any]:
        """How far the sitting is."""
        ...

    def describe(self, episode_id: str) -> dict[str, Any]:
        """What the page shows of an episode."""
        ...

    def length(self, episode_id: str) -> int:
        """Steps of an episode."""
        ...

    def sheet(self, episode_id: str, number: int) -> bytes:
        """A JPEG sheet of its film."""
        ...

    def touched(self, *, leave: bool = False) -> None:
        """Told after every choice; `leave` ends the sitting."""
        ...


class Refused(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """One connection. Subclassed once per server, to name its desk."""

    desk: Desk
    protocol_version = "HTTP/1.1"
    server_version = "recap"
    sys_version = ""
    timeout = 60
    # Small answers after small requests: waiting to fill a packet would cost 40 ms each.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Page, state, episodes, films."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Choices."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: request lines hold the token."""

    def _answer(self, respond: Any) -> None:
        try:
            kind, body = respond(self._route())
            status = 200
        except Refused as error:
            status, kind, body = error.status, "application/json", _error(str(error))
        except UnknownName as error:
            status, kind, body = 404, "application/json", _error(error.message)
        except ConfigError as error:  # a Conflict: it was asked for something that no longer fits
            status, kind, body = 409, "application/json", _error(error.message)
        except Corrupt as error:
            status, kind, body = 500, "application/json", _error(str(error))
        except OSError as error:
            # A connection that broke takes its answer with it; a disk that failed is told to the person.
            if isinstance(error, ConnectionError | TimeoutError):
                self.close_connection = True
                return
            status, kind, body = 507, "application/json", _error(f"not saved: {error.strerror or error}")
        if status != 200:
            # The body of a refused request may be unread: what follows on this connection would be taken for a request.
            self.close_connection = True
        self._send(status, kind, body)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _route(self) -> str:
        """The path behind the token, once the asker has been checked."""
        host = self.headers.get_all("Host") or []
        if len(host) != 1 or not _LOOPBACK.fullmatch(host[0]):
            raise Refused(403, "the Host header is not this machine's loopback address")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host[0]}":
            raise Refused(403, "the request comes from another page")
        head, _, rest = self.path.removeprefix("/").partition("/")
        if not self.path.startswith("/") or not hmac.compare_digest(head.encode(), self.desk.token.encode()):
            raise Refused(403, "wrong or missing token: open the address that `recap annotate` printed")
        return rest

    def _get(self, path: str) -> tuple[str, bytes]:
        if path in _STATIC:
            name, kind = _STATIC[path]
            return kind, files("pipelines.annotation_server").joinpath("page", name).read_bytes()
        if path == "api/state":
            return _json(self.desk.state())
        if match := _EPISODE.fullmatch(path):
            return _json(self.desk.describe(self._member(match[1])))
        if match := _SHEET.fullmatch(path):
            return "image/jpeg", self.desk.sheet(self._member(match[1]), int(match[2]))
        raise Refused(404, "no such page")

    def _post(self, path: str) -> tuple[str, bytes]:
        if path not in ("api/label", "api/skip", "api/undo", "api/finish"):
            raise Refused(404, "no such action")
        body = self._body()
        reply: dict[str, Any] = {}
        if path == "api/label":
            _only(body, "episode", "outcome", "key_frames", "note")
            self.desk.session.choose(self._annotation(body))
        elif path == "api/skip":
            _only(body, "episode")
            self.desk.session.skip(self._member(body["episode"]))
        elif path == "api/undo":
            _only(body)
            episode_id, earlier = self.desk.session.undo()
            keys = [[key.t, key.kind, key.text] for key in earlier.key_frames] if earlier else []
            reply = {"undone": {"episode": episode_id, "key_frames": keys, "note": earlier.note if earlier else ""}}
        else:
            _only(body)
        self.desk.touched(leave=path == "api/finish")
        return _json({**self.desk.state(), **reply})

    def _member(self, episode_id: Any) -> str:
        if not isinstance(episode_id, str) or episode_id not in self.desk.session:
            raise Refused(404, "no such episode in this queue")
        return episode_id

    def _body(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "expected Content-Type: application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(411, "expected a Content-Length")
        if int(length) > BODY_LIMIT:
            raise Refused(413, f"a body of {length} bytes, at most {BODY_LIMIT} are taken")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(400, "the body is not JSON") from error
        if not isinstance(body, dict):
            raise Refused(400, "the body is not a JSON object")
        return body

    def _annotation(self, body: Mapping[str, Any]) -> Annotation:
        episode_id = self._member(body["episode"])
        if body["outcome"] not in [outcome.value for outcome in Outcome]:
            raise Refused(400, f"outcome {str(body['outcome'])[:40]!r}, expected success, failure or aborted")
        note, keys = body["note"], body["key_frames"]
        if not _text(note, NOTE_LIMIT):
            raise Refused(400, f"note: expected text of at most {NOTE_LIMIT} characters")
        if not isinstance(keys, list) or len(keys) > KEY_FRAME_LIMIT:
            raise Refused(400, f"key_frames: expected a list of at most {KEY_FRAME_LIMIT}")
        length = self.desk.length(episode_id)
        return Annotation(
            episode_id=episode_id,
            outcome=Outcome(body["outcome"]),
            key_frames=tuple(_key_frame(key, length) for key in keys),
            note=note.strip(),
        )


def _key_frame(key: Any, length: int) -> KeyFrame:
    # bool is an int to isinstance, and no step number.
    if not isinstance(key, list) or [type(part) for part in key] != [int, int, str]:
        raise Refused(400, "key frame: expected [step, +1 or -1, text]")
    t, kind, text = key
    if not 0 <= t < length or kind not in (1, -1) or not _text(text, TEXT_LIMIT):
        raise Refused(400, f"key frame: expected a step 0..{length - 1}, kind +1 or -1, up to {TEXT_LIMIT} characters")
    return KeyFrame(t=t, kind=kind, text=text)


def _text(value: Any, limit: int) -> bool:
    # Half of a surrogate pair is valid in JSON and in no file.
    return isinstance(value, str) and len(value) <= limit and not any("\ud800" <= one <= "\udfff" for one in value)


def _only(body: Mapping[str, Any], *names: str) -> None:
    if set(body) != set(names):
        raise Refused(400, f"fields {sorted(body)[:8]}, expected {sorted(names)}")


def _json(value: Mapping[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(value).encode()


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()
