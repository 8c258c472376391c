"""What was made of what, from the manifests alone."""

from __future__ import annotations

import pytest
from tests.support.faults import damage

from recap.errors import ConfigError, UnknownName
from recap.hashing import sha256_hex
from recap.lineage import Lineage, read_lineage
from recap.provenance import StepAttempt
from recap.step import DirOutput, JsonOutput
from recap.store import Store
from recap.workspace import Workspace


def commit(workspace: Workspace, node: str, inputs: dict[str, str], **outputs: str) -> dict[str, str]:
    """A committed result and the record of its attempt; {output: identity}."""
    step, store = node.rpartition("/")[2], Store(workspace)
    key = sha256_hex(f"{node}{sorted(inputs.items())}{sorted(outputs.items())}".encode())
    facts = {"step": step, "config": {"node": node}, "inputs": inputs}
    attempt = StepAttempt(workspace, node=node, run_name="r", facts=facts, key=key)
    draft = store.begin(step, key)
    made = store.commit(draft, {name: JsonOutput(value) for name, value in outputs.items()}, facts)
    identities = {name: artifact.identity for name, artifact in made.items()}
    attempt.end("done", outputs=identities)
    return identities


@pytest.fixture
def workspace(tmp_path: object) -> Workspace:
    return Workspace.open(f"{tmp_path}/w")


@pytest.fixture
def made(workspace: Workspace) -> dict[str, str]:
    """demos -> first policy; first policy -> rollouts; both -> second policy; a gate that keeps the first."""
    demos = commit(workspace, "0/record", {}, episodes="demos")["episodes"]
    first = commit(workspace, "0/policy", {"experience": demos}, policy="first")["policy"]
    rollouts = commit(workspace, "1/record", {"policy": first}, episodes="rollouts")["episodes"]
    second = commit(workspace, "1/policy", {"a": demos, "b": rollouts}, policy="second")["policy"]
    gate = commit(workspace, "1/gate", {"champion": first, "challenger": second}, champion="first")["champion"]
    assert gate == first
    third = commit(workspace, "2/record", {"policy": first}, episodes="more rollouts")["episodes"]
    return {"demos": demos, "first": first, "rollouts": rollouts, "second": second, "more": third}


def nodes(found: list[object]) -> list[str]:
    return [one.node for one in found]  # type: ignore[attr-defined]


def test_what_was_made_of_what(workspace: Workspace, made: dict[str, str]) -> None:
    lineage = read_lineage(workspace)
    assert nodes(list(lineage.made_of(made["second"]))) == ["1/policy", "0/record", "1/record", "0/policy"]
    assert nodes(list(lineage.made_of(made["demos"]))) == ["0/record"]
    # The gate passes the first policy on: it did not make it, and what comes of it does not come of the challenger.
    maker = lineage.maker(made["first"])
    assert maker is not None
    assert (maker.node, maker.run, maker.config) == ("0/policy", "r", {"node": "0/policy"})
    assert nodes(list(lineage.made_from(made["second"]))) == ["1/gate"]
    assert nodes(list(lineage.made_from(made["rollouts"]))) == ["1/policy", "1/gate"]
    assert len(lineage.made_from(made["demos"])) == 5
    assert lineage.made_from("0" * 64) == []
    assert lineage.maker("0" * 64) is None


def test_an_identity_is_found_by_its_first_digits(workspace: Workspace, made: dict[str, str]) -> None:
    lineage = read_lineage(workspace)
    assert lineage.find(made["second"][:8]) == made["second"]
    with pytest.raises(ConfigError, match="at least 6"):
        lineage.find(made["second"][:5])
    with pytest.raises(UnknownName, match="no result"):
        lineage.find("z" * 8)
    twice = Lineage(
        tuple(
            type(lineage.made[0])(
                step="s", key=digit, config={}, inputs={}, outputs={"o": "abcdef" + digit},
                node="", run="", commit="", host="", ended=None,
            )
            for digit in "01"
        ),
        (),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="begins 2 identities"):
        twice.find("abcdef")


def test_a_torn_manifest_is_named_and_the_rest_is_read(workspace: Workspace, made: dict[str, str]) -> None:
    torn = next(workspace.artifacts.glob("policy-*/manifest.json"))
    damage(torn, "truncate")
    lineage = read_lineage(workspace)
    assert len(lineage.made) == 5
    assert len(lineage.unreadable) == 1
    assert str(torn) in lineage.unreadable[0]


def test_what_nobody_recorded_is_still_a_result(workspace: Workspace) -> None:
    store, key = Store(workspace), sha256_hex(b"alone")
    draft = store.begin("policy", key)
    (draft.out / "policy").mkdir()
    (draft.out / "policy" / "weights.bin").write_bytes(b"w")
    store.commit(draft, {"policy": DirOutput(draft.out / "policy")}, {})
    (one,) = read_lineage(workspace).made
    assert (one.node, one.commit, one.ended, one.inputs) == ("", "", None, {})
