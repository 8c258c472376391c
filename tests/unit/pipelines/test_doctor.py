"""What recap doctor finds, and what it says to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.published import published_config

from pipelines import doctor
from pipelines.invocation import Invocation
from recap.training.config import RuntimeConfig


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def config(**typed: Any) -> Any:
    return Invocation.of(task="shirt_folding", preset="micro", **typed).config()


def test_a_sound_machine(tmp_path: Path) -> None:
    found = {one.name: one for one in doctor.examine(config(), tmp_path / "not" / "there")}
    assert set(found) == {"packages", "machine", "device", "disk", "renderer", "models", "memory", "speed"}
    assert not [one for one in found.values() if one.state == "bad"]
    assert "minutes" in found["speed"].text
    assert "activations" in found["memory"].text
    assert not (tmp_path / "not").exists()


def test_packages_that_are_not_what_recap_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(name: str) -> str:
        if name == "zarr":
            raise metadata.PackageNotFoundError(name)
        return "0.0.1" if name == "torch" else metadata.version(name)

    monkeypatch.setattr(doctor, "version", there)
    found = doctor._packages()
    assert found.state == "bad"
    assert found.fix == "make setup"
    assert "zarr is not installed" in found.text
    assert "torch 0.0.1, expected" in found.text


def test_a_training_that_does_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_memory_there", lambda config: 2**20)
    found = list(doctor._training(config(), tmp_path))
    assert [(one.name, one.state) for one in found] == [("memory", "bad")] * 2  # of the policy and of ViVa
    assert "micro_batch" in found[0].fix


def test_what_several_processes_take_is_told_and_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(config(executor="ray"), runtime=RuntimeConfig(processes=2))
    found = {one.name: one for one in doctor.examine(asked, tmp_path)}
    assert (found["speed"].state, found["memory"].state) == ("note", "ok")
    assert "of each process" in found["memory"].text
    assert "put together" in found["memory"].text
    monkeypatch.setattr(doctor, "_machine_memory", lambda: 2**20)
    (memory,) = (one for one in doctor.examine(asked, tmp_path) if one.name == "memory" and "pi05" in one.text)
    assert memory.state == "bad"
    assert "2 processes build" in memory.text
    refused = {one.name: one for one in doctor.examine(replace(asked, executor=config().executor), tmp_path)}
    assert refused["device"].state == "bad"
    assert "--executor local" in refused["device"].text


def test_models_that_cannot_be_trained_are_named_and_not_tried(tmp_path: Path) -> None:
    asked = config()
    model = replace(asked.policy.model, start=str(tmp_path))
    found = {
        one.name: one for one in doctor.examine(replace(asked, policy=replace(asked.policy, model=model)), tmp_path)
    }
    assert found["models"].state == "bad"
    assert "both or none" in found["models"].text
    assert "speed" not in found
    for broken in (
        replace(model, start="", network=replace(model.network, vocab_size=5)),
        replace(model, start=str(tmp_path), tokenizer=str(tmp_path / "gone")),
    ):
        told = doctor.examine(replace(asked, policy=replace(asked.policy, model=broken)), tmp_path)
        assert [one.name for one in told if one.state == "bad"] == ["models"]
    views = replace(asked.values["viva"], views=("nocam",))
    blind = replace(asked, values={**asked.values, "viva": views})
    assert [one.name for one in doctor.examine(blind, tmp_path) if one.state == "bad"] == ["models"]
    imitation = doctor._models(replace(blind, iterations=0))
    assert {one.state for one in imitation} == {"ok"}, "imitation alone trains no value model"


def test_a_disk_too_small_for_what_is_known_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total=2**40, used=0, free=10 * 2**30))
    assert doctor._disk(tmp_path, 9 * 2**30).state == "ok"
    small = doctor._disk(tmp_path, 11 * 2**30)
    assert small.state == "bad"
    assert "11.0 GiB" in small.text


def test_the_probe_is_not_tried_where_the_disk_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total=2**40, used=0, free=2**10))
    (speed,) = (one for one in doctor._training(config(), tmp_path) if one.name == "speed")
    assert speed.state == "note"
    assert "not tried" in speed.text


def test_weights_to_start_from_are_looked_at(tmp_path: Path) -> None:
    start, _ = published_config("pi05", tmp_path / "published", steps=0)
    asked = config()
    fitting = replace(asked, policy=replace(asked.policy, model=start))
    assert {one.state for one in doctor._models(fitting)} == {"ok"}
    smaller = replace(start, network=replace(start.network, depth=2))
    (wrong,) = doctor._models(replace(asked, policy=replace(asked.policy, model=smaller)))
    assert wrong.state == "bad"
    assert "layers.2" in wrong.text


def test_little_and_locked_disks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(2**40, 0, 2**30))
    assert doctor._disk(tmp_path / "a", 0).state == "note"
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    assert doctor._disk(tmp_path / "a", 0).state == "bad"


def test_on_a_device_that_is_not_there_nothing_is_tried(tmp_path: Path) -> None:
    found = {one.name: one for one in doctor.examine(config(settings=("runtime.device=cuda:9",)), tmp_path)}
    assert found["device"].state == "bad"
    assert "runtime.device=cpu" in found["device"].fix
    assert not {"memory", "speed"} & set(found)


@pytest.mark.slow
def test_the_command_tells_all_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    command = ["doctor", "--preset", "micro", "--policy", "gigabrain0", "--checkpoint", str(tmp_path / "weights")]
    done = subprocess.run(
        [sys.executable, "-m", "cli", *command, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert [one["text"] for one in found if one["state"] == "bad"] == [
        f"{tmp_path / 'weights'} holds no weights, expected diffusion_pytorch_model.safetensors or its parts"
    ]
    assert any("gigabrain0" in one["text"] for one in found if one["name"] == "speed")
