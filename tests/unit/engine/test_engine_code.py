"""What code a step rests on, and that a change of it runs the step again until somebody accepts it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import recap.code
from recap.code import Code, code_fingerprint, code_of, golden_of
from recap.explain import explain
from recap.graph import Graph
from recap.registry import Registry
from recap.runner import Runner
from recap.step import STEPS, StepSpec
from recap.workspace import Workspace

FILES = {
    "__init__.py": "",
    "steps.py": """
from __future__ import annotations
from typing import TYPE_CHECKING
from recap.registry import Registry
from recap.step import JsonOutput, step
if TYPE_CHECKING:
    from codehouse.only_typed import T
REGISTRY = Registry("toy step")
FAMILIES = Registry("family", packages=("codehouse.families",))

@step(name="toy", version=1, outputs=("x",), registry=REGISTRY)
def toy(ctx, config, inputs):
    from codehouse.inner.maths import value
    return {"x": JsonOutput(value())}
""",
    "only_typed.py": "T = int\n",
    "beside.py": "X = 1\n",
    "inner/__init__.py": "",
    "inner/maths.py": "from ..deep import NUMBER\nimport numpy\n\ndef value():\n    return NUMBER\n",
    "deep.py": "NUMBER = 1\n",
    "families/__init__.py": "",
    "families/one.py": "ONE = 1\n",
    "families/two/__init__.py": "from codehouse.families.two.inside import TWO\n",
    "families/two/inside.py": "TWO = 2\n",
    "plugin.py": """
from dataclasses import dataclass
from codehouse.deep import NUMBER

@dataclass(frozen=True, kw_only=True, slots=True)
class PluginConfig:
    x: int = 1
""",
}


def _forget() -> None:
    """As another process begins: nothing of the code is remembered in memory."""
    recap.code._known.clear()
    recap.code._source.cache_clear()
    recap.code._files.cache_clear()
    recap.code._stamp.cache_clear()
    recap.code._accepted.cache_clear()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a file of the package `codehouse`, as somebody does who edits it between two runs."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name: str, text: str) -> None:
        file = tmp_path / "codehouse" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        later = file.stat().st_mtime_ns + 1_000_000_000
        os.utime(file, ns=(later, later))
        for module in [name for name in sys.modules if name.partition(".")[0] == "codehouse"]:
            del sys.modules[module]
        importlib.invalidate_caches()
        _forget()

    for name, text in FILES.items():
        write(name, text)
    yield write
    for module in [name for name in sys.modules if name.partition(".")[0] == "codehouse"]:
        del sys.modules[module]
    _forget()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def _toy() -> StepSpec:
    registry: Registry[StepSpec] = importlib.import_module("codehouse.steps").REGISTRY
    return registry.get("toy")


def _graph(config: Any = None) -> Graph:
    registry: Registry[StepSpec] = importlib.import_module("codehouse.steps").REGISTRY
    graph = Graph(steps=registry)
    graph.add("0/toy", "toy", config)
    return graph


def _no_executor() -> Any:
    raise AssertionError("nothing asked for an executor")


def _run(workspace: Workspace) -> tuple[list[str], Any]:
    done = Runner(workspace, _no_executor).run(_graph(), "r")
    return done.executed, done.outputs["0/toy"]["x"].json()


def _accept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _toy()
    known: Mapping[str, Any] = {"toy": {"version": 1, "fingerprint": code_fingerprint(spec.function.__module__)}}
    (tmp_path / "accepted.json").write_text(json.dumps(known))
    monkeypatch.setattr(recap.code, "ACCEPTED", tmp_path / "accepted.json")
    _forget()


@pytest.mark.usefixtures("write")
def test_imports_are_followed_in_functions_through_parents_and_into_what_a_registry_discovers() -> None:
    found = code_of("codehouse.steps")
    assert found - {"recap"} == {
        "codehouse",
        "codehouse.steps",
        "codehouse.inner",
        "codehouse.inner.maths",
        "codehouse.deep",
        "codehouse.families",
        "codehouse.families.one",
        "codehouse.families.two",
        "codehouse.families.two.inside",
    }, "neither the engine nor a library, nor what is imported for types alone, nor what nobody imports"


@pytest.mark.parametrize("name", ["deep.py", "inner/maths.py", "families/two/inside.py", "inner/__init__.py"])
def test_every_module_that_is_reached_counts(write: Callable[[str, str], None], name: str) -> None:
    before = code_fingerprint("codehouse.steps")
    write(name, f"# why\n{FILES[name]}")
    assert code_fingerprint("codehouse.steps") == before
    write(name, f"{FILES[name]}\nOTHER = 1\n")
    assert code_fingerprint("codehouse.steps") != before


@pytest.mark.parametrize("name", ["only_typed.py", "beside.py"])
def test_modules_that_are_not_reached_do_not_count(write: Callable[[str, str], None], name: str) -> None:
    before = code_fingerprint("codehouse.steps")
    write(name, "raise RuntimeError('imported')\n")
    assert code_fingerprint("codehouse.steps") == before


def test_a_new_family_in_a_folder_that_is_searched_counts(write: Callable[[str, str], None]) -> None:
    before = code_fingerprint("codehouse.steps")
    write("families/three.py", "THREE = 3\n")
    assert code_fingerprint("codehouse.steps") != before


def test_a_changed_module_far_down_runs_the_step_again_and_accepted_code_does_not(
    write: Callable[[str, str], None], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _accept(tmp_path, monkeypatch)
    assert Code(workspace).unaccepted(_toy(), None) == ""
    assert _run(workspace) == (["0/toy"], 1)
    assert _run(workspace) == ([], 1)

    write("deep.py", "NUMBER = 2\n")
    assert Code(workspace).unaccepted(_toy(), None) != ""
    (plan,) = explain(workspace, _graph(), "r")
    assert (plan.state, plan.why) == ("run", "its code (changed and not accepted: recap.code)")
    assert _run(workspace) == (["0/toy"], 2)
    assert _run(workspace) == ([], 2)

    # The change is said to make no difference: results of before count again.
    _accept(tmp_path, monkeypatch)
    assert Code(workspace).unaccepted(_toy(), None) == ""
    assert _run(workspace) == ([], 1)


def test_a_step_that_nobody_accepted_is_known_by_its_code(
    workspace: Workspace, write: Callable[[str, str], None]
) -> None:
    first = Code(workspace).unaccepted(_toy(), None)
    assert first
    write("deep.py", "NUMBER = 2\n")
    assert Code(workspace).unaccepted(_toy(), None) not in ("", first)


def test_classes_of_settings_that_are_not_ours_count_and_ours_do_not(
    write: Callable[[str, str], None], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.steps.value_train.step import ValueTrainConfig
    from recap.gate import GateConfig

    _accept(tmp_path, monkeypatch)

    def unaccepted() -> str:
        config = importlib.import_module("codehouse.plugin").PluginConfig()
        held, named = ValueTrainConfig(model=config), {"x": config}
        code = Code(workspace)
        found = {code.unaccepted(_toy(), one) for one in (held, named)}
        assert len(found) == 1, "wherever it stands among the settings"
        return found.pop()

    first = unaccepted()
    assert first
    assert Code(workspace).unaccepted(_toy(), ValueTrainConfig(model=GateConfig())) == ""
    write("deep.py", "NUMBER = 2\n")
    _accept(tmp_path, monkeypatch)
    second = unaccepted()
    assert second not in ("", first)
    write("beside.py", "X = 2\n")
    assert unaccepted() not in ("", first, second), "the settings' module imports it not, its package holds it"


def test_fingerprints_are_remembered_until_a_file_changes_and_readers_write_nothing(
    write: Callable[[str, str], None], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = workspace.cache / "code.json"
    Code(workspace, remember=False).unaccepted(_toy(), None)
    assert not memory.exists()
    _forget()
    first = Code(workspace).unaccepted(_toy(), None)
    assert memory.exists()
    _forget()
    monkeypatch.setattr(recap.code, "code_fingerprint", lambda *modules: pytest.fail("read again"))
    assert Code(workspace).unaccepted(_toy(), None) == first
    monkeypatch.undo()
    memory.write_text("torn {")
    _forget()
    assert Code(workspace).unaccepted(_toy(), None) == first


def test_the_code_of_our_steps_holds_their_families_and_no_engine() -> None:
    golden = golden_of()
    assert set(golden) == set(STEPS.names())
    train = code_of(STEPS.get("value_train").function.__module__)
    assert {"value_model.models.viva.train", "value_model.models.clock", "value_model.folds", "recap.types"} <= train
    assert not {name for name in train if name.partition(".")[0] == "policy"}
    assert not train & {"recap.runner", "recap.store", "recap.workspace", "recap.code"}
    assert "policy.flow.train" in code_of(STEPS.get("policy").function.__module__)
