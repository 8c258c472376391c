"""A private Ray cluster: on loopback only, with its own token, in its own short directory, and gone when we are.

Owns the environment that Ray reads at start. Never calls `ray stop`, which would end other people's clusters too.
"""

from __future__ import annotations

import atexit
import fcntl
import importlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.executors.base import ExecutorSettings
from pipelines.preflight.environment import OF_RAY, no_proxy_here
from recap.errors import ConfigError

# AF_UNIX paths end at 107 bytes and Ray appends up to 66 of its own: /session_<date>_<time>_<us>_<pid>/sockets/...
_LONGEST_BASE = 38
_PREFIX = "recap-ray-"
# Ray 2.60 encodes its paths as ASCII and writes them into command lines and file:// addresses of its own.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_OBJECT_STORE_BYTES = 128 * 2**20  # jobs and rows are small; episodes go to disk, not through Ray

WORKER_ENV = {
    # Numerical libraries and OSMesa's rasteriser keep to one thread: the processes are the parallelism.
    "OMP_NUM_THREADS": "1",
    "LP_NUM_THREADS": "1",
    # glibc keeps what a gradient step frees: the next one needs it again, and pages made anew cost 0.7 ms per MB.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
"""Environment of every worker."""

_SET_BY_RAY = ("RAY_CLIENT_MODE", "PYTHONBREAKPOINT")

_private_dir: Path | None = None
_private_lock: int | None = None


def start(settings: ExecutorSettings) -> dict[str, Any]:
    """Starts Ray on this machine and connects to it.

    Returns:
        {"dashboard_url": str | None, "seconds": float, "environment": what to restore at `stop`}.

    Raises:
        ConfigError: Ray would listen beyond loopback, or no short temporary directory is to be had.
    """
    began = time.monotonic()
    folder = private_dir()
    saved = _set_environment(folder)
    try:
        import ray

        _keep_to_loopback()
        context = ray.init(
            address="local",
            num_cpus=settings.num_cpus or len(os.sched_getaffinity(0)),
            include_dashboard=settings.dashboard,
            dashboard_host="127.0.0.1",
            namespace=settings.namespace,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level="error",
            _node_ip_address="127.0.0.1",
            # Ray makes this one readable by everybody; the 0700 directory around it is what keeps others out.
            _temp_dir=str(folder / "r"),
        )
        _insist_on_loopback(str(context.address_info["node_ip_address"]))
    except BaseException:
        restore_environment(saved)
        raise
    url = f"http://{context.dashboard_url}" if settings.dashboard and context.dashboard_url else None
    return {"dashboard_url": url, "seconds": time.monotonic() - began, "environment": saved}


def restore_environment(saved: dict[str, str | None]) -> None:
    """Puts the variables that `start` set back to what they were."""
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def private_dir() -> Path:
    """This process's own 0700 directory for Ray's files, made on first use and removed at exit."""
    global _private_dir, _private_lock
    if _private_dir is None:
        base = _short_base()
        _sweep(base)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        _private_lock = os.open(folder / "owner", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(_private_lock, fcntl.LOCK_EX)
        _write_token(folder / "token")
        # Registered before `import ray` registers its own, so it runs after Ray has shut down.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _private_dir = folder
    return _private_dir


def _short_base() -> Path:
    for base in (Path(tempfile.gettempdir()), Path("/tmp")):  # mkdtemp below it is private
        short = len(str(base)) <= _LONGEST_BASE - len(_PREFIX) - 8
        if short and _PLAIN.fullmatch(str(base)) and os.access(base, os.W_OK):
            return base
    raise ConfigError(
        f"Ray needs a temporary directory that can be written, with a short path (unix sockets end at 107 bytes) of "
        f"letters, digits and . _ - alone; neither {tempfile.gettempdir()} nor /tmp is one",
        hint="TMPDIR=DIRECTORY recap run ..., or without Ray: recap run --executor local ...",
    )


def _sweep(base: Path) -> None:
    """Removes directories whose owner was killed before it could."""
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            with (folder / "owner").open("r+") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # alive, being made, or another user's
            continue


def _write_token(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))


def _set_environment(folder: Path) -> dict[str, str | None]:
    wanted = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        # For the sockets of Ray's own fork server, which a long path or one of another script breaks as well.
        "TMPDIR": str(folder.parent),
        # Ray turns 127.0.0.1 into the machine's address unless it is told that clusters are not wanted.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Inherited by every worker: a runtime_env would do the same, but costs each actor a second (docs/tracking.md).
        **WORKER_ENV,
        **no_proxy_here(os.environ),
    }
    saved = {name: os.environ.get(name) for name in (*wanted, *_SET_BY_RAY, *OF_RAY)}
    for name in OF_RAY:  # Ray's own processes would read it as well
        os.environ.pop(name, None)
    os.environ.update(wanted)
    return saved


def _keep_to_loopback() -> None:
    """The variable above is read when Ray is imported, which may have happened before."""
    constants: Any = importlib.import_module("ray._private.ray_constants")
    constants.ENABLE_RAY_CLUSTER = False


def _insist_on_loopback(address: str) -> None:
    if address == "127.0.0.1":
        return
    import ray

    ray.shutdown()
    raise ConfigError(f"Ray would listen on {address}, not on loopback only", hint="recap run --executor local")


def is_imported() -> bool:
    """Whether this process has imported Ray."""
    return "ray" in sys.modules


def is_connected() -> bool:
    """Whether this process has started or joined Ray."""
    if not is_imported():
        return False
    import ray

    return bool(ray.is_initialized())
