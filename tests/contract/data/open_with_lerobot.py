"""Run in a process of its own: opens a dataset folder with LeRobot, offline, and keeps what it gives as an .npz file.

python open_with_lerobot.py FOLDER OUT
"""

import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

folder, out = sys.argv[1:]
dataset = LeRobotDataset("somebody/something", root=folder, video_backend="pyav", return_uint8=True)
items = [dataset[i] for i in range(len(dataset))]
columns = {}
for name in items[0]:
    values = [item[name] for item in items]
    columns[name] = np.array(values) if isinstance(values[0], str) else np.stack([np.asarray(v) for v in values])
np.savez(out, __fps__=dataset.fps, __episodes__=dataset.num_episodes, **columns)
