"""Processes that open other sets in other sizes below a tight cap, some killed: no torn byte, never above the cap."""

import os
import subprocess
import sys
import time

import pytest
from tests.support.synthetic import synthetic_draft

from data.episodes import EpisodeStore

CAP = 600_000
"""Bytes: less than all sizes of all episodes together, more than any one view with its latents."""
CROWD = """
import random, sys
import numpy as np
import data.shards
from data.episodes import EpisodeStore
from data.framecache import FrameCache
from data.resize import letterbox
from recap.errors import ConfigError

root, store, seed, rounds, cap = sys.argv[1], EpisodeStore(sys.argv[2]), *map(int, sys.argv[3:])
data.shards.COMMIT_SECONDS = 0.01
draw = random.Random(seed)
episodes = {i: store.load(i) for i in store.ids()}
frames = {i: dict(episode.frames) for i, episode in episodes.items()}
cache, opened = FrameCache(root, cap), 0
for _ in range(rounds):
    if draw.random() < 0.3:
        cache = FrameCache(root, cap)
    some, size = draw.sample(store.ids(), draw.randint(1, 5)), draw.choice([(16, 16), (8, 8), (12, 20)])
    try:
        view = cache.view(store, some, image_size=size)
        latents = view.latents(
            "mean", lambda images: images.mean((2, 3, 4), dtype=np.float32)[..., None],
            shape=(1,), views=np.array([1]), episodes=[0], batch=4,
        )
    except ConfigError as error:
        assert "in use, the cap is" in str(error), error
        continue
    for i in view.episode_ids:
        rows = view.rows_of(i)
        for c, camera in enumerate(view.cameras):
            np.testing.assert_array_equal(view.images[rows, c], letterbox(frames[i][camera], *size))
        np.testing.assert_array_equal(view.action[rows], episodes[i].action)
    assert view.verify() == []
    first = np.arange(view.offsets[1])
    means = view.gather(first, np.array([1])).mean((1, 2, 3, 4))
    np.testing.assert_allclose(latents.take(first)[:, 0, 0], means, rtol=1e-5)
    assert sum(size for size, _ in cache._shards._survey().values()) <= cap
    opened += 1
print(opened)
"""


@pytest.mark.slow
def test_a_crowd_below_a_tight_cap(tmp_path):
    store = EpisodeStore(tmp_path / "episodes")
    for seed in range(10):
        store.commit(synthetic_draft(seed, length=5 + seed))

    def start(seed, rounds):
        args = [tmp_path / "cache", store.root, seed, rounds, CAP]
        command = [sys.executable, "-c", CROWD, *map(str, args)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    crowd = [start(seed, 15) for seed in range(2)]
    for attempt in range(3):
        victim = start(100 + attempt, 1000)
        time.sleep(2 + 0.3 * attempt)
        victim.kill()
        victim.communicate()
    opened = 0
    for process in crowd:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        opened += int(out)
    assert opened > 15
