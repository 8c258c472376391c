"""Recordings of an odd shape and rate, told in hostile words: imported, learned from, exported, read by LeRobot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import recap
from tests.support.synthetic_lerobot import synthetic_dataset

from data.episodes import EpisodeStore
from policy.models import candidates, load_policy
from recap.types import Observation

OPEN = Path(__file__).parents[1] / "contract" / "data" / "open_with_lerobot.py"
PROMPT = 'fold \U0001f9fa the <b>shirt</b> & "go"'
WORDINGS = (PROMPT, "\u0642\u0645\u064a\u0635 #1: 'e\u0301' 100% {x} \u2028 ~", PROMPT)
SHAPE = {"size": (24, 40), "fps": 12.5, "pictures": "image"}


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_TASKS", "")


@pytest.mark.slow
def test_any_import_can_be_learned_from_and_exported(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    demos = synthetic_dataset(tmp_path / "demos", instructions=WORDINGS, **SHAPE)
    marks = {"success": ["FAILED", "1", "succeeded", "0"]}
    rolls = synthetic_dataset(
        tmp_path / "rolls", lengths=(6, 5, 4, 6), seed=1, instructions=[WORDINGS[1]] * 4, episode_columns=marks, **SHAPE
    )
    for words in ([str(demos)], [str(rolls), "--source", "rollout", "--policy", "p", "--outcome-column", "success"]):
        done = recap("data", "import", *words, "--task", "fold", "--lossless", workspace=workspace)
        assert done.returncode == 0, done.stderr
    ran = recap(
        *("run", "--task", "fold", "--collect", "none", "--demos", str(workspace), "--rollouts", str(workspace)),
        *("--set", "imported.others=skip", "--unlabelled", "skip", "--preset", "micro", "--tracker", "none"),
        workspace=workspace,
    )
    assert ran.returncode == 0, ran.stderr
    exported = recap("data", "export", "--to", str(tmp_path / "x"), workspace=workspace)
    assert exported.returncode == 0, exported.stderr
    subprocess.run(
        [sys.executable, str(OPEN), str(tmp_path / "x"), str(tmp_path / "x.npz")],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=280,
    )
    found = dict(np.load(tmp_path / "x.npz", allow_pickle=False))
    episodes = json.loads((tmp_path / "x" / "meta" / "recap.json").read_text())["episodes"]
    store = EpisodeStore(workspace / "episodes")
    told = [store.load(row["id"]) for row in episodes]
    wanted = [WORDINGS[0] if one.instruction is None else one.instruction for one in told for _ in range(one.length)]
    assert found["task"].tolist() == wanted
    assert sorted({*wanted}) == sorted({*WORDINGS})
    again = recap("data", "import", str(tmp_path / "x"), "--task", "fold", "--json", workspace=tmp_path / "w2")
    assert again.returncode == 0, again.stderr
    counts = {wording: sum(wording == (one.instruction or PROMPT) for one in told) for wording in WORDINGS}
    assert json.loads(again.stdout)["wordings"] == counts
    report = (workspace / "runs" / "fold-micro-offline" / "report" / "report.html").read_text()
    assert "fold \U0001f9fa the &lt;b&gt;shirt&lt;/b&gt; &amp; &#34;go&#34;" in report
    pictures = np.concatenate([one.frames["front"] for one in told]).astype(int)
    assert np.abs(found["observation.images.front"].transpose(0, 2, 3, 1) - pictures).mean(axis=(1, 2, 3)).max() < 30
    bundles = [path for path in (workspace / "artifacts").glob("policy-*/*") if list(path.glob("step-*"))]
    policy = load_policy(candidates(bundles[0])[-1][1])
    for prompt in WORDINGS:
        seen = Observation(state=told[0].state[0], frames={"front": told[0].frames["front"][0]}, prompt=prompt)
        assert np.isfinite(policy.act(seen, noise_seed=0)).all()
