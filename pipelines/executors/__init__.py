"""Where the jobs of a step run: in this process (`local`) or in long-lived Ray actors (`ray`).

`EXECUTORS.get(name)(ExecutorSettings(...))` builds one; nothing is started, and Ray is not imported, before the first
job. Ray is known nowhere else in recap.
"""

from pipelines.executors.base import EXECUTORS, ExecutorSettings, WorkerDied

__all__ = ["EXECUTORS", "ExecutorSettings", "WorkerDied"]
