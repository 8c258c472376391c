"""The loop of attempts: each is played once, kept at once, and given back in the order it was asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.attempts import link_tree, pin_renderer, play_missing
from pipelines.executors.local import LocalExecutor
from pipelines.facts import ActingFacts, EnvConfig
from pipelines.ledger import Ledger
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from pipelines.steps.record.step import _figures, learned_from
from recap.errors import ConfigError
from recap.types import Outcome, Source


class _Worker:
    played: list[Any] = []  # noqa: RUF012

    def run(self, job: Any) -> dict[str, Any]:
        if job == "bad":
            raise RuntimeError("the robot fell over")
        self.played.append(job)
        return {"key": job, "score": len(str(job))}

    def close(self) -> None:
        pass


def _ctx(tmp_path: Path) -> Any:
    _Worker.played = []
    told: list[tuple[int, int]] = []
    journal = SimpleNamespace(progress=lambda done, total, unit: told.append((done, total)))
    return SimpleNamespace(node="1/x", scratch=tmp_path, journal=journal, executor=LocalExecutor(), told=told)


def _play(ctx: Any, jobs: dict[Any, Any], **more: Any) -> dict[Any, dict[str, Any]]:
    ledger = Ledger(ctx.scratch / "ledger.jsonl", key="key")
    return play_missing(ctx, ledger, jobs, role="w", make_worker=_Worker, worker_args=(), workers=1, **more)


def test_rows_come_in_the_order_asked_for_and_are_played_once(tmp_path: Path) -> None:
    ctx = _ctx(tmp_path)
    assert list(_play(ctx, {"b": "b", "a": "a"})) == ["b", "a"]
    again = _play(ctx, {"a": "a", "c": "c", "b": "b"})
    assert [row["key"] for row in again.values()] == ["a", "c", "b"]
    assert _Worker.played == ["b", "a", "c"]
    assert ctx.told[-1] == (3, 3)


def test_what_was_finished_before_an_error_is_kept(tmp_path: Path) -> None:
    ctx = _ctx(tmp_path)
    with pytest.raises(RuntimeError, match="fell over"):
        _play(ctx, {"a": "a", "bad": "bad"})
    assert _play(ctx, {"a": "a"})["a"]["score"] == 1
    assert _Worker.played == ["a"]


def test_a_lost_row_is_played_again_and_rows_of_other_jobs_are_left_out(tmp_path: Path) -> None:
    ctx = _ctx(tmp_path)
    _play(ctx, {"a": "a", "b": "b"})
    assert list(_play(ctx, {"a": "a"}, lost={"a"})) == ["a"]
    assert _Worker.played == ["a", "b", "a"]


def test_a_workspace_keeps_the_renderer_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = ["osmesa"]

    def choose(asked: str) -> str:
        if asked in ("auto", "ray", *offered):
            return offered[0] if asked == "auto" else asked
        raise ConfigError(f"{asked} does not work here")

    monkeypatch.setattr("data.sim.bimanual_task.choose_renderer", choose)
    ctx: Any = SimpleNamespace(node="1/x", workspace=SimpleNamespace(root=tmp_path))

    def pinned(asked: str) -> str:
        return pin_renderer(ctx, ActingFacts(tasks=("shirt_folding",), env=EnvConfig(renderer=asked)))

    assert pinned("ray") == "ray"
    assert not (tmp_path / "renderers").exists(), "what was asked for by name decides for no one else"
    assert pinned("auto") == "osmesa"
    offered[:] = ["egl", "osmesa"]
    assert pinned("auto") == "osmesa"
    offered[:] = ["egl"]
    with pytest.raises(ConfigError, match="drawn by 'osmesa', which does not work here") as refused:
        pinned("auto")
    assert "--set env.renderer=ray" in refused.value.hint


def _attempt(episode: str, outcome: Outcome | None, steps: int, human_steps: int = 0) -> RecordedAttempt:
    return RecordedAttempt(
        episode_id=episode, source=Source.ROLLOUT, outcome=outcome, steps=steps, human_steps=human_steps
    )


def test_aborted_attempts_teach_nothing_and_shares_are_of_those_judged() -> None:
    aborted = _attempt("b" * 64, Outcome.ABORTED, 1)
    attempts = (_attempt("a" * 64, Outcome.SUCCESS, 3, human_steps=2), aborted, _attempt("c" * 64, None, 5))
    recording = Recording(task="t", attempts=attempts, left_out={"of another task": ("d", "e")})
    assert learned_from(recording).ids == ("a" * 64, "c" * 64)
    assert _figures(recording) == {
        "episodes": 3.0,
        "frames": 9.0,
        "human_frames": 2.0,
        "unlabelled": 1.0,
        "left_out": 2.0,
        "success_fraction": 0.5,
    }
    assert "success_fraction" not in _figures(Recording(task="t", attempts=(_attempt("c" * 64, None, 5),)))
    with pytest.raises(ConfigError, match="all 1 attempts at t were aborted"):
        learned_from(Recording(task="t", attempts=(aborted,)))


def test_a_linked_tree_has_equal_content(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "w.bin").write_bytes(b"weights")
    link_tree(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "deep" / "w.bin").read_bytes() == b"weights"
