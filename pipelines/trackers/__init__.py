"""Where a run is mirrored for browsing: `mlflow`, or `none`.

A tracker is a mirror of the journal and nothing else: no result depends on it, and a run goes on without it.
MLflow is known nowhere else in recap, and is imported only when there is something to mirror.
"""

from pipelines.trackers.base import TRACKERS, Tracker, TrackerSettings, sqlite_uri

__all__ = ["TRACKERS", "Tracker", "TrackerSettings", "sqlite_uri"]
