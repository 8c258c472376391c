import subprocess
import sys

import pytest

from data.sim import backend
from recap.errors import ConfigError


def test_unknown_renderer_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, egl, osmesa, ray"):
        backend.choose_renderer("vulkan")


def test_a_missing_renderer_is_an_error_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "gl_backend", lambda: None)
    monkeypatch.setattr(backend, "works", lambda name: False)
    with pytest.raises(ConfigError) as caught:
        backend.choose_renderer("egl")
    assert "apt-get install libegl1" in caught.value.hint
    assert backend.choose_renderer("auto") == "ray"
    assert backend.choose_renderer("ray") == "ray"


def test_a_process_that_draws_with_another_library_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "gl_backend", lambda: "egl")
    monkeypatch.setattr(backend, "works", lambda name: True)
    with pytest.raises(ConfigError) as caught:
        backend.choose_renderer("osmesa")
    assert "MUJOCO_GL=osmesa" in caught.value.hint


def test_importing_tasks_imports_no_simulator() -> None:
    code = (
        "import sys; from data.tasks import TASKS; import data.rollout; assert TASKS.names();"
        "sys.exit('mujoco' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
