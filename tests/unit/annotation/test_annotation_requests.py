"""The server over real HTTP on loopback: who may ask, what is refused, what is kept."""

import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from tests.support.faults import disk_full
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from pipelines.annotation_server.queue import Queue
from pipelines.annotation_server.requests import BODY_LIMIT, KEY_FRAME_LIMIT, NOTE_LIMIT
from pipelines.annotation_server.serve import AnnotationServer
from recap.errors import ConfigError
from recap.types import Outcome, Source

LENGTH = 6


@dataclass
class Site:
    server: AnnotationServer
    book: LabelBook
    store: EpisodeStore
    ids: tuple[str, ...]
    outside: str
    """An episode of the store that is not in the queue."""

    @property
    def prefix(self):
        return urlsplit(self.server.url).path

    def ask(self, path, body=None, *, method=None, headers=None, prefix=None):
        """(status, headers, body) of one request; the path goes out as it is written."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        try:
            connection.request(method, (prefix or self.prefix) + path, body, {**sent, **(headers or {})})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def error(self, *args, **more):
        status, _, content = self.ask(*args, **more)
        return status, json.loads(content)["error"]

    def label(self, which, outcome="success", **more):
        return {"episode": self.ids[which], "outcome": outcome, "key_frames": [], "note": "", **more}


@pytest.fixture
def site(tmp_path):
    store, book = EpisodeStore(tmp_path / "episodes"), LabelBook(tmp_path / "labels")
    drafts = [
        synthetic_draft(seed, length=LENGTH, source=Source.CORRECTION, cameras=("cam_high", "cam_wrist"))
        for seed in range(3)
    ]
    drafts.append(synthetic_draft(9, length=LENGTH, task="juggling", cameras=("cam_high",)))
    outside = store.commit(synthetic_draft(99, length=LENGTH))
    ids = tuple(store.commit(draft, synthetic_truth(draft, Outcome.SUCCESS)) for draft in drafts)
    queue = Queue(episodes=ids, run="night", node="1/annotate", next_command="recap resume night")
    with AnnotationServer(store, book, queue, by="ada", linger_s=0.2) as server:
        yield Site(server=server, book=book, store=store, ids=ids, outside=outside)


def test_the_page_and_its_parts_come_with_strict_headers(site):
    for path, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        with urllib.request.urlopen(site.server.url + path, timeout=10) as reply:
            headers, content = reply.headers, reply.read()
        assert headers.get_content_type() == kind
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
        assert b"http://" not in content, "nothing is loaded from outside"
        assert b"https://" not in content


def test_only_loopback_is_listened_on(site):
    assert site.server._http.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["", "page.js", "api/state", "api/label"])
def test_a_wrong_or_missing_token_is_403(site, path):
    body = site.label(0) if path == "api/label" else None
    for prefix in ("/", "/wrong/", site.prefix[:-2] + "/", site.prefix.upper(), "//", "/%2e/"):
        status, message = site.error(path, body, prefix=prefix)
        assert (status, "token" in message) == (403, True), prefix
    assert site.book.annotations() == {}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "127.0.0.1:1:2", "0.0.0.0"],
)
def test_a_foreign_host_is_403(site, host):
    status, message = site.error("api/state", headers={"Host": host})
    assert (status, "Host" in message) == (403, True)


def test_loopback_hosts_on_a_forwarded_port_are_welcome(site):
    for host in ("localhost:9000", "127.0.0.1", "[::1]:80"):
        assert site.ask("api/state", headers={"Host": host})[0] == 200


def test_no_or_two_hosts_are_403(site):
    for hosts in ((), ("127.0.0.1", "evil.example")):
        with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as raw:
            lines = [f"GET {site.prefix}api/state HTTP/1.1", *(f"Host: {host}" for host in hosts), "", ""]
            raw.sendall("\r\n".join(lines).encode())
            assert raw.recv(64).startswith(b"HTTP/1.1 403")


def test_another_pages_post_is_403(site):
    host = f"127.0.0.1:{site.server.port}"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://{host}"):
        assert site.error("api/label", site.label(0), headers={"Host": host, "Origin": origin})[0] == 403
    assert site.book.annotations() == {}
    own = {"Host": host, "Origin": f"http://{host}"}
    assert site.ask("api/label", site.label(0), headers=own)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "../serve.py",
        "..%2f..%2fserve.py",
        "page/../../serve.py",
        "./page.js",
        "page.js/",
        "page.js?x=1",
        "index.html",
        "api",
        "api/film/../../etc/passwd/0.jpg",
        "api/episode/" + "A" * 64,
        "api/episode/" + "a" * 63,
        "api/episode/..%2f" + "a" * 61,
        "api/label",
    ],
)
def test_no_path_leads_anywhere_else(site, path):
    assert site.error(path)[0] == 404


def test_an_episode_outside_the_queue_is_404(site):
    for episode_id in (site.outside, "0" * 64):
        assert site.error(f"api/episode/{episode_id}")[0] == 404
        assert site.error(f"api/film/{episode_id}/0.jpg")[0] == 404
        assert site.error("api/label", site.label(0, episode=episode_id))[0] == 404
        assert site.error("api/skip", {"episode": episode_id})[0] == 404
    assert site.error(f"api/film/{site.ids[0]}/1.jpg")[0] == 404
    assert site.error("api/skip", {"episode": ["x"]})[0] == 404
    assert site.book.annotations() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "timeout"},
        {"outcome": "SUCCESS"},
        {"outcome": ["success"]},
        {"outcome": None},
        {"key_frames": None},
        {"key_frames": [[0, 1]]},
        {"key_frames": [[LENGTH, 1, ""]]},
        {"key_frames": [[-1, 1, ""]]},
        {"key_frames": [[0, 0, ""]]},
        {"key_frames": [[True, 1, ""]]},
        {"key_frames": [[0.5, 1, ""]]},
        {"key_frames": [[0, 1, "x" * 201]]},
        {"key_frames": [[0, 1, ""]] * (KEY_FRAME_LIMIT + 1)},
        {"note": 3},
        {"note": "x" * (NOTE_LIMIT + 1)},
        {"note": "\ud800"},
        {"by": "eve"},
    ],
)
def test_a_bad_answer_is_400_and_keeps_nothing(site, change):
    assert site.error("api/label", site.label(0, **change))[0] == 400
    assert site.book.annotations() == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"[" * 60_000, b"\xff", b"{}"])
def test_a_bad_body_is_400(site, body):
    assert site.error("api/label", body)[0] == 400


def test_an_oversized_body_is_413_before_it_is_read(site):
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as raw:
        head = f"POST {site.prefix}api/label HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: {BODY_LIMIT + 1}\r\n\r\n".encode())
        assert raw.recv(64).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as raw:
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        assert raw.recv(64).startswith(b"HTTP/1.1 411")


def test_a_form_post_is_415(site):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert site.error("api/label", site.label(0), headers={"Content-Type": kind})[0] == 415
    assert site.book.annotations() == {}


def test_other_methods_do_nothing(site):
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert site.ask("api/label", b"{}", method=method)[0] == 501


def test_an_episode_is_described_without_the_detectors_verdict(site):
    status, _, content = site.ask(f"api/episode/{site.ids[0]}")
    about = json.loads(content)
    assert status == 200
    assert about["prompt"]
    assert about["success"]
    assert (about["length"], about["human"], about["layout"]["cameras"]) == (
        LENGTH,
        [[3, 6]],
        ["cam_high", "cam_wrist"],
    )
    # The film is that of the queue's episode, and what the simulator knows is nowhere.
    assert not {"outcome", "events", "truth", "progress", "start_seed"} & set(about)
    status, headers, sheet = site.ask(f"api/film/{site.ids[0]}/0.jpg")
    assert (status, headers["Content-Type"], sheet[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")


def test_a_task_that_is_not_installed_is_said_to_be_unknown(site):
    about = json.loads(site.ask(f"api/episode/{site.ids[3]}")[2])
    assert (about["task"], about["prompt"], about["success"]) == ("juggling", None, None)


def test_an_answer_is_on_disk_when_it_is_acknowledged(site):
    body = site.label(0, "failure", key_frames=[[4, -1, "dropped"], [1, 1, ""]], note=" n ")
    status, _, content = site.ask("api/label", body)
    state = json.loads(content)
    # Read by another book: what is not on disk is not seen.
    kept = LabelBook(site.book.folder).annotations()[site.ids[0]]
    assert (status, kept.outcome, kept.note) == (200, Outcome.FAILURE, "n")
    assert [(key.t, key.kind, key.text) for key in kept.key_frames] == [(1, 1, ""), (4, -1, "dropped")]
    assert (state["labelled"], state["current"], state["next"]) == (1, site.ids[1], site.ids[2])
    assert site.book.entries()[0].by == "ada"


def test_a_repeated_answer_is_fine_and_another_one_is_409(site):
    for _ in range(2):
        assert site.ask("api/label", site.label(0))[0] == 200
    status, message = site.error("api/label", site.label(0, "failure"))
    assert (status, "undo first" in message) == (409, True)
    assert len(site.book.entries()) == 1


def test_undo_gives_the_answer_back(site):
    assert site.error("api/undo", {})[0] == 409
    site.ask("api/label", site.label(0, "failure", key_frames=[[2, 1, ""]], note="n"))
    reply = json.loads(site.ask("api/undo", {})[2])
    assert reply["undone"] == {"episode": site.ids[0], "key_frames": [[2, 1, ""]], "note": "n"}
    assert reply["current"] == site.ids[0]
    assert site.book.annotations() == {}


def test_a_full_disk_is_507_and_the_episode_stays(site):
    site.ask("api/label", site.label(0))
    with disk_full(after=0, under=site.book.folder):
        status, message = site.error("api/label", site.label(1))
    assert (status, message) == (507, "not saved: No space left on device")
    assert json.loads(site.ask("api/state")[2])["current"] == site.ids[1]
    assert site.ask("api/label", site.label(1))[0] == 200


def test_a_damaged_episode_is_named_and_can_be_skipped(site):
    path = site.store.path(site.ids[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    status, message = site.error(f"api/episode/{site.ids[0]}")
    assert (status, "recap data repair" in message) == (500, True)
    assert site.ask("api/skip", {"episode": site.ids[0]})[0] == 200


def test_posts_at_once_are_all_kept(site):
    statuses = []

    def post(which, outcome):
        statuses.append(site.ask("api/label", site.label(which, outcome))[0])

    threads = [
        threading.Thread(target=post, args=(which, outcome))
        for which in range(3)
        for outcome in ("success", "failure", "aborted")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 3 + [409] * 6
    assert set(site.book.annotations()) == set(site.ids[:3])
    assert len(site.book.entries()) == 3


def test_one_connection_serves_many_requests_and_survives_none_that_was_refused(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
    for _ in range(3):
        connection.request("GET", site.prefix + "api/state")
        reply = connection.getresponse()
        reply.read()
        assert (reply.status, reply.will_close) == (200, False)
    # An unread body must not be taken for the next request.
    connection.request("POST", "/wrong/api/label", b"GET / HTTP/1.1\r\n\r\n")
    reply = connection.getresponse()
    reply.read()
    assert (reply.status, reply.will_close) == (403, True)
    connection.close()


def test_it_ends_after_the_last_answer_unless_that_is_taken_back(site):
    for which in range(3):
        site.ask("api/label", site.label(which))
    site.ask("api/skip", {"episode": site.ids[3]})
    site.ask("api/undo", {})
    assert not site.server.wait(0.5), "an undo stops the clock"
    site.ask("api/skip", {"episode": site.ids[3]})
    assert site.server.wait(5)
    summary = site.server.summary()
    assert (summary.labelled, summary.success, summary.skipped, summary.left) == (3, 3, 1, 0)
    assert summary.next_command == "recap resume night"


def test_a_person_may_end_early(site):
    site.ask("api/label", site.label(0, "aborted"))
    assert site.ask("api/finish", {})[0] == 200
    assert site.server.wait(5)
    assert (site.server.summary().aborted, site.server.summary().left) == (1, 3)


def test_a_taken_port_is_an_error_that_says_what_to_type(site):
    queue = Queue(episodes=site.ids, run=None, node="", next_command="")
    for port in (site.server.port, 70_000):
        with pytest.raises(ConfigError, match="recap annotate --port 0"):
            AnnotationServer(site.store, site.book, queue, by="ada", port=port)


def test_every_server_has_its_own_token(site):
    queue = Queue(episodes=site.ids, run=None, node="", next_command="")
    with AnnotationServer(site.store, site.book, queue, by="bob") as other:
        assert other.token != site.server.token
        assert len(other.token) >= 32
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(other.url.replace(other.token, site.server.token), timeout=10)
