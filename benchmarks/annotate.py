"""What a person waits for at `recap annotate`: until the first episode plays, and from one key to the next episode.

    python benchmarks/annotate.py [--episodes 500] [--steps 120] [--answers 40]

The real command in its own process over a workspace of made-up episodes (three 64x64 cameras), asked over HTTP as the
page asks. open_s: from the start of the process until page, script, style, state and the first sheet of the first
episode are here; open_cpu_s: the processor time that the command took for it, for judging on a busy machine. next_ms:
from sending an answer until it is acknowledged (on disk) and the next episode's description and first sheet are here;
cold, the 95th percentile of all answers. next_prefetched_ms: the acknowledgement alone, which is what is left once the
page has fetched the next episode while this one played.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import checkout  # noqa: F401
from tests.support.synthetic import synthetic_draft

from data.annotation import write_waiting
from data.episodes import EpisodeStore
from recap.workspace import Workspace

COMMAND = "from cli.main import main; main()"


def make_workspace(root: Path, episodes: int, steps: int) -> Workspace:
    """A workspace whose run `bench` waits for all its episodes."""
    workspace = Workspace.open(root)
    store = EpisodeStore(workspace.episodes)
    ids = [store.commit(synthetic_draft(seed, length=steps, height=64, width=64)) for seed in range(episodes)]
    write_waiting(workspace.run_dir("bench"), ids, node="1/annotate")
    return workspace


class Page:
    """Asks as the page does, on one kept connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._prefix = parts.path

    def get(self, path: str) -> bytes:
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> dict[str, object]:
        reply: dict[str, object] = json.loads(self._ask("POST", path, json.dumps(body).encode()))
        return reply

    def show(self, episode_id: object) -> None:
        """What must be here before an episode can play."""
        self.get(f"api/episode/{episode_id}")
        self.get(f"api/film/{episode_id}/0.jpg")

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, self._prefix + path, body, headers)
        reply = self._connection.getresponse()
        content = reply.read()
        assert reply.status == 200, (path, reply.status, content)
        return content


def cpu_seconds(pid: int) -> float:
    """Processor time of a live process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(workspace: Workspace, answers: int) -> dict[str, float]:
    begin = time.perf_counter()
    arguments = ["annotate", "bench", "--workspace", str(workspace.root), "--no-browser"]
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        listening = time.perf_counter() - begin
        page = Page(address)
        for path in ("", "page.css", "page.js"):
            page.get(path)
        current = json.loads(page.get("api/state"))["current"]
        page.show(current)
        opened = time.perf_counter() - begin
        opened_cpu = cpu_seconds(process.pid)
        saved, moved = [], []
        for _ in range(answers):
            begin = time.perf_counter()
            body = {"episode": current, "outcome": "success", "key_frames": [[3, 1, ""]], "note": ""}
            current = page.post("api/label", body)["current"]
            saved.append((time.perf_counter() - begin) * 1e3)
            page.show(current)
            moved.append((time.perf_counter() - begin) * 1e3)
        page.post("api/finish", {})
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    return {
        "listening_s": listening,
        "open_s": opened,
        "open_cpu_s": opened_cpu,
        "next_ms": statistics.quantiles(moved, n=20)[-1],
        "next_median_ms": statistics.median(moved),
        "next_prefetched_ms": statistics.median(saved),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--answers", type=int, default=40)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as root:
        workspace = make_workspace(Path(root) / "w", arguments.episodes, arguments.steps)
        figures = measure(workspace, arguments.answers)
    for name, value in figures.items():
        print(f"{name:22}{value:10.3f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
