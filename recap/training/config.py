"""How to optimise and where to compute. Settings alone: presets and the command line read them without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recap.config import setting, validate


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How to optimise. The defaults suit small networks trained from scratch."""

    steps: int = setting(1000, minimum=0, help="gradient steps; 0 keeps the starting weights")
    learning_rate: float = setting(1e-3, above=0, help="peak learning rate")
    warmup_steps: int = setting(50, minimum=0, help="steps of linear warm-up, at most a tenth of all")
    final_share: float = setting(0.01, minimum=0, maximum=1, help="last learning rate over the peak")
    weight_decay: float = setting(0.01, minimum=0, help="of matrices; vectors are not decayed")
    beta2: float = setting(0.95, above=0, maximum=0.99999, help="AdamW's second-moment decay")
    clip_norm: float = setting(1.0, above=0, help="largest gradient norm")
    ema_decay: float = setting(0.99, minimum=0, maximum=0.99999, help="decay of the weights' moving average")
    checkpoint_every: int = setting(200, minimum=1, semantic=False, help="steps between checkpoints")
    log_every: int = setting(20, minimum=1, semantic=False, help="steps between lines in the journal")
    threads: int = setting(1, minimum=1, semantic=False, help="torch threads; more than 1 gives up exact resumes")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeConfig:
    """Where networks compute. Weights, moments and the moving average are float32 whatever `dtype` says.

    Device, batches, processes and compilation change the order of sums and nothing else (noise is drawn on the CPU
    before any of them matters), so they promise a tolerance and are in no key. `recompute` changes no bit: it trades
    memory for arithmetic in networks that have layers. `dtype` rounds every product and is in the key.
    """

    device: str = setting("cpu", semantic=False, help="torch device of networks: cpu, cuda, cuda:1, ...")
    dtype: str = setting("float32", choices=("float32", "bfloat16"), help="number format of matrix products (autocast)")
    micro_batch: int = setting(
        0, minimum=0, semantic=False, help="samples per forward pass in training, gradients add up; 0: the whole batch"
    )
    processes: int = setting(
        1,
        minimum=1,
        semantic=False,
        help="that train one network together, each on its own card; weights are divided",
    )
    label_batch: int = setting(32, minimum=1, semantic=False, help="sequences per forward pass when labelling")
    recompute: bool = setting(
        False, semantic=False, help="activations of layers are computed again in the backward pass instead of kept"
    )
    compile: bool = setting(False, semantic=False, help="layers are compiled for training by torch.compile")

    def __post_init__(self) -> None:
        validate(self)

    def alone(self) -> RuntimeConfig:
        """The same for what one process does."""
        return replace(self, processes=1)
