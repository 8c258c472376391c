"""The engine costs what it uses: a run of cached steps imports no numpy, and nothing of layers above."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import json, sys
import recap.config, recap.explain, recap.graph, recap.hashing, recap.provenance, recap.runner, recap.store
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
HEAVY = {"numpy", "torch", "ray", "mlflow", "zarr", "hypothesis", "subprocess", "socket", "asyncio", "email"}


def test_the_engine_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & HEAVY
    assert not loaded & {"data", "policy", "value_model", "pipelines", "cli"}
