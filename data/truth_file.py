"""The sidecar of what only the simulator knows: one JSON file per episode.

It lies apart from the episode file, so that a model that is given an episode cannot reach it. Numbers survive the round
trip bit for bit. Must not know the store.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from recap.errors import EpisodeCorrupt
from recap.hashing import canonical_json
from recap.types import Event, Outcome, PrivilegedTruth

FORMAT = 1
_REPAIR = "recap data repair"


def encode_truth(episode_id: str, truth: PrivilegedTruth) -> bytes:
    """Canonical bytes of the truth of episode `episode_id`, with their own digest."""
    content = {
        "format": FORMAT,
        "episode": episode_id,
        "outcome": truth.outcome.value,
        "progress": [_number(value) for value in truth.progress],
        "stage": [int(value) for value in truth.stage],
        "events": [[int(event.t), event.name, int(event.kind)] for event in truth.events],
        "metrics": {name: _number(value) for name, value in truth.metrics.items()},
    }
    return canonical_json({"content": content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()})


def read_truth(path: Path, episode_id: str) -> PrivilegedTruth:
    """The truth at `path`.

    Raises:
        EpisodeCorrupt: it is not what was committed, or belongs to another episode.
        FileNotFoundError: there is none.
    """
    raw = path.read_bytes()
    try:
        record = json.loads(raw)
        content: dict[str, Any] = record["content"]
        intact = record["sha256"] == hashlib.sha256(canonical_json(content)).hexdigest()
    except (ValueError, KeyError, TypeError) as error:
        raise EpisodeCorrupt(f"{path}: truth unreadable: {type(error).__name__}: {error}", hint=_REPAIR) from error
    if not intact:
        raise EpisodeCorrupt(f"{path}: truth is not what was committed (sha256 differs)", hint=_REPAIR)
    if content["episode"] != episode_id or content["format"] != FORMAT:
        raise EpisodeCorrupt(
            f"{path}: holds format {content['format']} of episode {content['episode']}, "
            f"expected format {FORMAT} of {episode_id}",
            hint=_REPAIR,
        )
    return PrivilegedTruth(
        progress=np.array(content["progress"], dtype=np.float32),
        stage=np.array(content["stage"], dtype=np.int64),
        events=tuple(Event(t=t, name=name, kind=kind) for t, name, kind in content["events"]),
        outcome=Outcome(content["outcome"]),
        metrics={name: float(value) for name, value in content["metrics"].items()},
    )


def _number(value: float) -> float | str:
    # JSON knows no NaN; broken physics does. float("nan") reads it back.
    return float(value) if math.isfinite(value) else str(float(value))
