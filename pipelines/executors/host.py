"""The Ray actor: a process that builds a worker, gives it jobs, and says in plain bytes how each ended.

Sent to the actor's process BY VALUE (pipelines/executors/ray.py registers it so), because there `import pipelines` may
still mean somebody else's package. So: stdlib only at the top, and no name from another module of recap.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

Reply = tuple[bool, bytes, str]
"""(it went well, pickled result or exception, traceback text)"""


class Host:
    """One long-lived process for one seat of a role. Swaps its worker when asked; imports stay warm."""

    def __init__(self, root: str, packages: tuple[str, ...], paths: tuple[str, ...]) -> None:
        self._worker: Any = None
        faulthandler.enable()
        self._pin(root, packages)
        # What the driver can import, plug-ins included, a worker can import too.
        sys.path.extend(path for path in paths if path not in sys.path and os.path.isdir(path))

    def hello(self) -> dict[str, Any]:
        """The process id, where its stderr goes, and the machine."""
        import ray

        return {
            "pid": os.getpid(),
            "stderr": os.readlink("/proc/self/fd/2") if os.path.exists("/proc/self/fd/2") else "",
            "node": ray.get_runtime_context().get_node_id(),
        }

    def address(self) -> str:
        """host:port of this process's machine where nothing listens yet."""
        from ray.util import get_node_ip_address

        host = str(get_node_ip_address())
        with socket.create_server((host, 0)) as free:
            return f"{host}:{free.getsockname()[1]}"

    def build(self, payload: bytes) -> Reply:
        """Replaces the worker; payload: pickled (make_worker, worker_args)."""

        def work() -> None:
            self._drop()
            make_worker, worker_args = pickle.loads(payload)
            self._worker = make_worker(*worker_args)

        return self._reply(work)

    def run(self, payload: bytes) -> Reply:
        """Gives the worker one pickled job."""
        try:
            return self._reply(lambda: self._worker.run(pickle.loads(payload)))
        finally:
            self._tidy()

    def call(self, payload: bytes) -> Reply:
        """Calls a function; payload: pickled (function, args)."""

        def work() -> Any:
            function, args = pickle.loads(payload)
            return function(*args)

        try:
            return self._reply(work)
        finally:
            self._tidy()

    def close(self) -> Reply:
        """Closes the worker."""
        return self._reply(self._drop)

    def _drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    @staticmethod
    def _tidy() -> None:
        """Gives memory of a device back, which torch would keep for this process alone."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            gc.collect()  # networks whose hooks refer to them
            torch.cuda.empty_cache()

    @staticmethod
    def _reply(work: Callable[[], Any]) -> Reply:
        from ray import cloudpickle  # results may hold what the standard pickle cannot name

        try:
            return True, cloudpickle.dumps(work()), ""
        except Exception as error:  # carried to the driver, which raises it there
            text = "".join(traceback.format_exception(error))
            try:
                body = cloudpickle.dumps(error)
                pickle.loads(body)
            except Exception:  # an exception that does not survive pickling travels as its text
                body = b""
            return False, body, text

    @staticmethod
    def _pin(root: str, packages: tuple[str, ...]) -> None:
        """Imports recap's packages from where the driver has them, before anything else can claim their names."""
        here = os.path.isdir(os.path.join(root, "recap"))  # on another host of a cluster they may lie elsewhere
        if here:
            sys.path.insert(0, root)
        try:
            for name in packages:
                importlib.import_module(name)
        finally:
            if here:
                sys.path.remove(root)
        importlib.import_module("pipelines.roots").check_roots()
