"""Real recordings, taken in by the command: a humanoid's camera at 640x480 and 30 Hz, LeRobotDataset v2.1 and v3.0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import recap

from data.episodes import EpisodeStore
from data.lerobot_io.folder import open_folder
from data.lerobot_io.mapping import DatasetMapping, cameras_of
from data.lerobot_io.reading import DatasetReader
from recap.types import Source

SHARED = Path(__file__).parents[3] / "shared" / "datasets"
V21, V30 = SHARED / "g1_yellow_can_v21", SHARED / "g1_yellow_can_v30"
TASK = "yellow_can"
_LONG_S = 1500
"""Of a command that decodes real video, on a machine that does other things as well."""
pytestmark = [
    pytest.mark.skipif(not V30.is_dir(), reason=f"the recordings are not on this machine ({SHARED})"),
    pytest.mark.xdist_group("e2e-recordings"),
]


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_TASKS", "")


def _import(dataset: Path, workspace: Path, *more: str) -> dict[str, object]:
    done = recap(
        "data", "import", str(dataset), "--task", TASK, *more, "--json", workspace=workspace, timeout_s=_LONG_S
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("dataset", "episode", "length"), [pytest.param(V21, "2", 278, marks=pytest.mark.slow), (V30, "0", 290)]
)
def test_an_episode_is_taken_in_checked_and_shown(tmp_path: Path, dataset: Path, episode: str, length: int) -> None:
    workspace = tmp_path / "w"
    result = _import(dataset, workspace, "--episodes", episode, "--image-size", "48x64")
    assert (result["imported"], result["frames"], result["outcomes"]) == (1, length, {"none": 1})
    assert _import(dataset, workspace, "--episodes", episode, "--image-size", "48x64")["known"] == 1
    assert recap("data", "verify", workspace=workspace).returncode == 0
    (stored,) = EpisodeStore(workspace / "episodes").ids()
    shown = recap("data", "show", stored[:12], workspace=workspace).stdout
    assert f"{length} steps at 30 Hz" in shown
    assert "robot Unitree_G1_Inspire" in shown
    frames = EpisodeStore(workspace / "episodes").load(stored).frames["cam_high"]
    assert frames.shape == (length, 48, 64, 3)
    assert frames.std() > 20, "a picture, not a black frame"
    refused = recap("run", "--task", TASK, workspace=workspace)
    assert refused.returncode == 2
    assert "nobody demonstrates it in a simulated world" in refused.stderr


def test_every_table_of_both_recordings_is_good() -> None:
    for dataset, episodes, frames in ((V21, 3, 909), (V30, 12, 4207)):
        folder = open_folder(dataset)
        usual = {"task": TASK, "robot": "g1", "source": Source.DEMO, "policy_id": None, "cameras": cameras_of(folder)}
        reader = DatasetReader(folder, DatasetMapping(**usual))
        for entry in folder.episodes:
            reader.check(entry)
        assert (len(folder.episodes), sum(entry.length for entry in folder.episodes)) == (episodes, frames)


_LEROBOT = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset("somebody/something", root=sys.argv[1], video_backend="pyav", return_uint8=True)
items = [dataset[int(i)] for i in sys.argv[3:]]
np.savez(
    sys.argv[2],
    frames=np.stack([item["observation.images.cam_high"].numpy().transpose(1, 2, 0) for item in items]),
    state=np.stack([item["observation.state"].numpy() for item in items]),
)
"""


def _with_lerobot(dataset: Path, out: Path, rows: list[int]) -> dict[str, np.ndarray]:
    subprocess.run(
        [sys.executable, "-c", _LEROBOT, str(dataset), str(out), *map(str, rows)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(out.parent / "hf"), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=280,
    )
    return dict(np.load(out, allow_pickle=False))


@pytest.mark.slow
def test_it_reads_the_pixels_that_lerobot_reads(tmp_path: Path) -> None:
    folder = open_folder(V30)
    usual = {"task": TASK, "robot": "g1", "source": Source.DEMO, "policy_id": None, "cameras": cameras_of(folder)}
    reader = DatasetReader(folder, DatasetMapping(**usual))
    entry, first = folder.episodes[3], sum(entry.length for entry in folder.episodes[:3])
    draft, steps = reader.draft(entry), [0, 1, 17, entry.length - 1]
    theirs = _with_lerobot(V30, tmp_path / "theirs.npz", [first + t for t in steps])
    np.testing.assert_array_equal(theirs["frames"], draft.frames["cam_high"][steps])
    np.testing.assert_array_equal(theirs["state"], draft.state[steps])


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_twelve_episodes_go_through_the_offline_loop_and_out_again(tmp_path: Path) -> None:
    workspace, outcomes = tmp_path / "w", tmp_path / "outcomes.csv"
    outcomes.write_text(
        "episode_index,outcome\n" + "".join(f"{e},{'failure' if e % 3 == 0 else 'success'}\n" for e in range(6, 12))
    )
    size = ("--image-size", "64")  # what the small networks read
    assert _import(V30, workspace, "--episodes", "0-5", *size)["imported"] == 6
    path = workspace / "tasks" / f"{TASK}.yaml"
    path.write_text(path.read_text().replace("max_steps: 421", "max_steps: 450"))
    rollouts = ("--episodes", "6-11", "--source", "rollout", "--policy", "teleop-2", "--outcomes", str(outcomes))
    assert _import(V30, workspace, *rollouts, *size)["outcomes"] == {"failure": 2, "success": 4, "none": 0}
    assert recap("data", "verify", workspace=workspace, timeout_s=_LONG_S).returncode == 0
    run = ["run", "--task", TASK, "--preset", "micro", "--collect", "none", "--unlabelled", "skip"]
    folders = ["--demos", str(workspace), "--rollouts", str(workspace), "--set", "imported.others=skip"]
    words = ["--set", "values.viva.transformer.text_tokens=8"]
    done = recap(*run, *folders, *words, "--json", workspace=workspace, timeout_s=_LONG_S)
    assert done.returncode == 0, done.stderr
    arguments = ["data", "export", "--to", str(tmp_path / "out"), "--run", f"{TASK}-micro-offline", "--json"]
    exported = recap(*arguments, workspace=workspace, timeout_s=_LONG_S)
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["episodes"] == 6
    store = EpisodeStore(workspace / "episodes")
    rows = json.loads((tmp_path / "out" / "meta" / "recap.json").read_text())["episodes"]
    episode = store.load(rows[0]["id"])
    theirs = _with_lerobot(tmp_path / "out", tmp_path / "theirs.npz", [0, episode.length - 1])
    np.testing.assert_array_equal(theirs["state"], episode.state[[0, -1]])
    assert np.abs(theirs["frames"].astype(int) - episode.frames["cam_high"][[0, -1]]).mean() < 15
