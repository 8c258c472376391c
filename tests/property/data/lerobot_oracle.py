"""What LeRobot gives for each row of a dataset folder, offline. Run as a process of its own, it answers on its output:

    python lerobot_oracle.py HF_HOME     then a line of JSON on its input for each folder: {"root", "out", "whole"}

Version 3.0 is read by LeRobotDataset with its default tolerance and its `pyav` backend. LeRobot 0.6.1 does not open 2.0
and 2.1; their rows are read as its last version that did: a picture of an episode's own film, nearest to the row's time
within the same tolerance, by LeRobot's own `decode_video_frames`; the task by `task_index` in tasks.jsonl.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

TOLERANCE_S = 1e-4
NUMBERS = ("observation.state", "action")


def read(root: Path, *, whole: bool) -> dict[str, Any]:
    """{"items": what is given for each row or None, "errors": why not or "", "episodes": episode_index of each row}.

    Args:
        root: dataset folder.
        whole: open it by LeRobotDataset throughout. Else the tables are loaded by the cast that its loader makes, but
            without the copy in a cache that takes most of the time; a test compares the two.
    """
    version = json.loads((root / "meta/info.json").read_text())["codebase_version"]
    if not whole:
        _load_tables_directly()
    from lerobot.datasets.video_utils import FrameTimestampError

    give, table = _give_v3(root) if version == "v3.0" else _give_v2(root)
    items, errors, missed = [], [], []
    for at in range(len(table)):
        try:
            items.append(give(at))
            errors.append("")
        except Exception as error:
            # Its time rule counts, not what its seek makes of it.
            again = _without_seek(give, at) if isinstance(error, FrameTimestampError) else None
            items.append(again)
            missed.append(again is not None)
            errors.append("" if again is not None else f"{type(error).__name__}: {error}"[:300])
    episodes = [int(number) for number in table.with_format("numpy")["episode_index"]]
    return {"items": items, "errors": errors, "episodes": episodes, "missed": sum(missed)}


class _Unsought:
    """A film of PyAV that is read from its beginning wherever a seek is asked for."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __enter__(self) -> Any:
        self._container.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._container.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def seek(self, *place: Any, **named: Any) -> None:
        """Nothing: a film that was just opened stands at its beginning."""


def _without_seek(give: Any, at: int) -> Any:
    """What LeRobot gives for a row that decodes the film from its beginning; None if it refuses again.

    It seeks anew for each row. In films whose pictures depend on later ones and in fragments that may lead behind the
    row's picture, which is then not found although it is there.
    """
    import lerobot.datasets.video_utils as video_utils

    av = video_utils.av
    video_utils.av = SimpleNamespace(open=lambda path: _Unsought(av.open(path)))
    try:
        return give(at)
    except video_utils.FrameTimestampError:
        return None
    finally:
        video_utils.av = av


def _give_v3(root: Path) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("some/body", root=root, video_backend="pyav", return_uint8=True, tolerance_s=TOLERANCE_S)
    return dataset.__getitem__, dataset.hf_dataset


def _give_v2(root: Path) -> Any:
    from lerobot.datasets.feature_utils import get_hf_features_from_features
    from lerobot.datasets.io_utils import hf_transform_to_torch, load_info, load_nested_dataset
    from lerobot.datasets.video_utils import decode_video_frames
    from lerobot.scripts.convert_dataset_v21_to_v30 import legacy_load_tasks

    info = load_info(root)
    tasks, _ = legacy_load_tasks(root)
    videos = [name for name, feature in info.features.items() if feature["dtype"] == "video"]
    table = load_nested_dataset(root / "data", features=get_hf_features_from_features(info.features))
    table.set_transform(hf_transform_to_torch)

    def give(at: int) -> dict[str, Any]:
        item = table[at]
        number = item["episode_index"].item()
        for name in videos:
            path = root / info.video_path.format(
                episode_chunk=number // info.chunks_size, video_key=name, episode_index=number
            )
            item[name] = decode_video_frames(
                path, [item["timestamp"].item()], TOLERANCE_S, "pyav", return_uint8=True
            ).squeeze(0)
        return {**item, "task": tasks[item["task_index"].item()]}

    return give, table


def convert(root: Path) -> None:
    """Version 2.1 to 3.0, in place, by LeRobot's own script."""
    from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

    convert_dataset("some/body", root=root, push_to_hub=False)


def _load_tables_directly() -> None:
    import lerobot.datasets.dataset_reader as reader
    import lerobot.datasets.io_utils as io_utils

    reader.load_nested_dataset = io_utils.load_nested_dataset = _loaded


def _loaded(folder: Path, features: Any = None, episodes: Any = None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, DatasetInfo, Features
    from datasets.table import table_cast

    assert episodes is None
    paths = sorted(folder.glob("*/*.parquet"))
    if not paths:
        raise FileNotFoundError(folder)
    tables = [pq.read_table(path) for path in paths]
    features = features or Features.from_arrow_schema(tables[0].schema)
    table = pa.concat_tables([table_cast(table, features.arrow_schema) for table in tables])
    return Dataset(table, info=DatasetInfo(features=features), fingerprint="none")  # half of the time is made of hashes


def _kept(answer: dict[str, Any], out: Path) -> None:
    """Rows that were given, side by side, as .npz."""
    given = [item for item in answer["items"] if item is not None]
    columns = {name: np.array(answer[name]) for name in ("errors", "episodes", "missed")}
    for name in given[0] if given else ():
        if name in (*NUMBERS, "task") or name.startswith("observation.images."):
            values = [item[name] for item in given]
            columns[name] = np.array(values) if isinstance(values[0], str) else np.stack([v.numpy() for v in values])
    np.savez(out, **columns)


def main() -> None:
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=sys.argv[1])
    import logging
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        root, error = Path(asked["root"]), ""
        try:
            if asked.get("convert"):
                convert(root)
            _kept(read(root, whole=asked["whole"]), Path(asked["out"]))
        except Exception as refused:
            error = f"{type(refused).__name__}: {refused}"[:300]
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
