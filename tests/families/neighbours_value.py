"""A third value model: the mean return of the training frames whose states are nearest. It registers itself."""

from dataclasses import dataclass

import numpy as np

from recap.config import setting, validate
from value_model.bundle import read_arrays, write_arrays
from value_model.models import VALUE_MODELS, Noiseless, ValueFamily, training_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighboursConfig:
    """Settings of the neighbours."""

    count: int = setting(5, minimum=1, help="neighbours whose returns are averaged")
    keep: int = setting(2000, minimum=1, help="training frames that are kept")

    def __post_init__(self):
        validate(self)


def train(config, data, episodes, *, seed, out, **_):
    rows = training_rows(data, episodes, "neighbours")
    rows = np.random.default_rng(seed).permutation(rows)[: config.keep]
    arrays = {"state": data.packed.state[rows], "value": data.returns[rows], "count": np.array(config.count)}
    write_arrays(out, "neighbours", arrays)
    return {"frames": float(len(rows))}


def load(path):
    known = read_arrays(path, "neighbours", "state", "value", "count")

    def values(data, episode):
        state = data.packed.state[data.rows(episode)]
        distance = np.square(state[:, None] - known["state"][None]).sum(-1)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : int(known["count"])]
        return known["value"][nearest].mean(1)

    return Noiseless(values)


VALUE_MODELS.add("neighbours", ValueFamily(name="neighbours", config=NeighboursConfig, train=train, load=load))
