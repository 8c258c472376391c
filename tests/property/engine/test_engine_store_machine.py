"""The store against a dictionary, under crashes at every fault point, damage and recovery, in any order."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.faults import DAMAGES, FAULT_POINTS, damage

from recap import faults
from recap.errors import ArtifactCorrupt
from recap.hashing import canonical_json, sha256_hex
from recap.step import DirOutput, JsonOutput, Output
from recap.store import Draft, Store
from recap.workspace import Workspace

KEYS = [sha256_hex(bytes([number])) for number in range(3)]
STORE_POINTS = [name for name in FAULT_POINTS if name.startswith("store.")]


class StoreMachine(RuleBasedStateMachine):
    """Model: {key: the committed value}, and {key: what lies in scratch}."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = Store(Workspace.open(self.root / "w"))
        self.model: dict[str, int] = {}
        self.work: dict[str, int] = {}
        self.damaged: set[str] = set()
        self.bad = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def attempt(self, key: str, value: int) -> tuple[Draft, dict[str, Output]]:
        draft = self.store.begin("s", key)
        scratch = self.store.scratch_dir("s", key) / "model"
        if key in self.work:
            self.check_work(key)
        else:
            scratch.mkdir(parents=True, exist_ok=True)
            (scratch / "weights.bin").write_bytes(bytes([value]) * 50)
            self.work[key] = value
        return draft, {"x": JsonOutput([value]), "model": DirOutput(scratch)}

    @rule(key=st.sampled_from(KEYS), value=st.integers(0, 255))
    def commit(self, key: str, value: int) -> None:
        if key in self.model:
            return
        draft, outputs = self.attempt(key, self.work.get(key, value))
        self.store.commit(draft, outputs, {})
        self.model[key] = self.work.pop(key)

    @rule(
        key=st.sampled_from(KEYS),
        value=st.integers(0, 255),
        point=st.sampled_from(STORE_POINTS),
        clean_up=st.booleans(),
    )
    def die_while_committing(self, key: str, value: int, point: str, clean_up: bool) -> None:
        """`clean_up` False is a kill: no `except` of the store runs, as if the process had gone."""
        if key in self.model:
            return
        draft, outputs = self.attempt(key, self.work.get(key, value))
        faults._seen.clear()
        keep = mock.patch.object(Store, "abandon") if not clean_up else mock.MagicMock()
        with mock.patch.dict(os.environ, {"RECAP_FAULT": f"{point}:1:raise"}), keep:
            try:
                self.store.commit(draft, outputs, {})
            except faults.FaultInjected:
                pass
            else:
                raise AssertionError(f"{point} was not reached")
        if point == "store.after_rename":
            self.model[key] = self.work.pop(key)
        elif clean_up:
            self.check_work(key)

    @rule()
    def restart(self) -> None:
        self.store = Store(Workspace.open(self.root / "w", create=False))
        self.store.recover()
        for key in self.work:
            self.check_work(key)

    @precondition(lambda self: set(self.model) - self.damaged)
    @rule(
        data=st.data(),
        how=st.sampled_from([how for how in DAMAGES if how != "flip"]),
        name=st.sampled_from(["manifest.json", "x.json", "model/weights.bin"]),
    )
    def spoil(self, data: Any, how: str, name: str) -> None:
        key = data.draw(st.sampled_from(sorted(set(self.model) - self.damaged)))
        damage(self.store.path("s", key) / name, how)
        self.damaged.add(key)

    @precondition(lambda self: self.damaged)
    @rule()
    def heal(self) -> None:
        for key in sorted(self.damaged):
            self.store.quarantine("s", key, "spoilt")
            self.bad += 1
            del self.model[key]
        self.damaged.clear()

    def check_work(self, key: str) -> None:
        weights = self.store.scratch_dir("s", key) / "model" / "weights.bin"
        assert weights.read_bytes() == bytes([self.work[key]]) * 50

    @invariant()
    def what_is_read_is_what_was_committed(self) -> None:
        for key in KEYS:
            try:
                found = self.store.load("s", key)
            except ArtifactCorrupt:
                assert key in self.damaged
                continue
            assert key not in self.damaged, "a damaged result was accepted"
            if key not in self.model:
                assert found is None, "a result that was never committed is visible"
                continue
            assert found is not None, "a committed result is gone"
            value = self.model[key]
            assert found["x"].json() == [value]
            assert found["x"].identity == sha256_hex(canonical_json([value]))
            assert (found["model"].path / "weights.bin").read_bytes() == bytes([value]) * 50

    @invariant()
    def verify_finds_the_damaged_and_no_other(self) -> None:
        found = {finding.entry for finding in self.store.verify()}
        assert found == {self.store.path("s", key).name for key in self.damaged}

    @invariant()
    def nothing_bad_is_ever_deleted(self) -> None:
        assert len(list((self.root / "w" / "quarantine").iterdir())) == self.bad


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(stateful_step_count=15, max_examples=20)
