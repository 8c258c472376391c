"""Under which licences published weights are given, as far as anything says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.hub import offline, published_at
from tests.support.published import published_config

from data.task_list import robot_of
from pipelines import doctor
from pipelines.invocation import Invocation
from pipelines.licences import said_in, weights_of
from pipelines.probe import policy_needs
from recap.hub import bound
from recap.training.runtime import CPU


def config(**models: Any) -> Any:
    made = Invocation.of(task="shirt_folding", preset="micro").config()
    return bound(replace(made, policy=replace(made.policy, model=models["policy"])))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, ""),
        ({"README.md": "# A model\nlicense: none of it\n"}, ""),
        ({"README.md": "---\ntags: [a]\n---\nlicense: mit\n"}, ""),
        ({"README.md": "---\nlicense: [\n---\n"}, ""),
        ({"README.md": "---\nlicense: gemma\n"}, ""),
        ({"README.md": "---\nlicense: gemma\n---\n"}, "license: gemma (README.md)"),
        (
            {"README.md": "---\nlicense: other\nlicense_name: giga\n---\n", "LICENSE.txt": "\n  Giga Terms\nfree\n"},
            "license: other, license_name: giga (README.md); 'Giga Terms' (LICENSE.txt)",
        ),
    ],
)
def test_what_lies_with_weights_says(files: dict[str, str], says: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert said_in(tmp_path) == says


def test_a_run_from_scratch_has_no_published_weights() -> None:
    assert weights_of(Invocation.of(task="shirt_folding", preset="micro").config()) == []


def test_each_source_is_told_once(tmp_path: Path) -> None:
    start, _ = published_config("pi05", tmp_path / "pi05", steps=0)
    (known,) = weights_of(config(policy=start))
    assert known.place == str(tmp_path / "pi05")
    assert known.settings == ("policy.model.start", "policy.model.tokenizer")
    assert known.licence.startswith("nothing there says; known: pi0.5 grows from PaliGemma")
    (tmp_path / "pi05" / "README.md").write_text("---\nlicense: gemma\n---\n")
    assert [one.licence for one in weights_of(config(policy=start))] == ["license: gemma (README.md)"]
    (tmp_path / "model_index.json").write_text("{}")
    assert weights_of(config(policy=start))[0].place == str(tmp_path), "a part of a folder of diffusers"


def test_doctor_says_what_would_be_fetched_and_the_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, tmp_path / "hub")
    monkeypatch.chdir(tmp_path)
    start, _ = published_config("gigabrain0", tmp_path / "files", steps=0)
    named = replace(start, start="tiny/brain", tokenizer="tiny/brain")
    told = [*doctor._models(asked := config(policy=named)), *doctor._weights(asked)]
    assert [(one.name, one.state) for one in told] == [
        ("models", "note"),
        *[("weights", "note")] * 2,
        ("licence", "note"),
    ]
    assert "policy.model.start: tiny/brain@main/. is not here" in told[1].text
    assert told[1].fix.startswith("hf download tiny/brain ")
    assert "Apache-2.0; it grows from PaliGemma 2" in told[3].text
    assert list((tmp_path / "hub").iterdir()) == []
    needs = policy_needs(asked.policy.model, prompts=("fold",), robot=robot_of(asked.tasks), runtime=CPU)
    assert needs is not None, "memory is known without any file"
    assert needs.parameters > 0
    (tmp_path / "files" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    commit = published_at(tmp_path / "hub", "tiny/brain", tmp_path / "files")
    told = [*doctor._models(asked := config(policy=named)), *doctor._weights(asked)]
    assert [(one.name, one.state) for one in told] == [("models", "ok"), ("licence", "note")]
    assert f"(tiny/brain@{commit}): license: apache-2.0 (README.md)" in told[1].text
