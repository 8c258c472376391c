"""A family of such networks as the pipelines see it. Building one costs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.flow.checks import check, check_conditioning, check_published
from policy.flow.config import FlowConfig, base_config, network_sizes, relative_dims
from policy.flow.lerobot.files import LeRobotType
from policy.flow.prompt import PromptForm
from policy.flow.sizes import NetworkSizes
from policy.models import Acting, Exported, PolicyFamily, TrainedFor
from recap.hub import located
from recap.specs import RobotSpec
from recap.training.runtime import CPU, Runtime
from recap.types import Observation

if TYPE_CHECKING:
    from policy.flow.acting import FlowActor
    from policy.flow.network import FlowNetwork
    from recap.training.needs import Needs


def flow_family(
    name: str,
    *,
    config: type[FlowConfig],
    form: PromptForm,
    presets: Mapping[str, Callable[..., Any]],
    kind: Callable[[], type[FlowNetwork]],
    published: NetworkSizes,
    lerobot: LeRobotType,
    loaded_by: tuple[str, ...] = (),
    licences: Mapping[str, str],
) -> PolicyFamily:
    """What such a family offers.

    Args:
        name: of the family.
        config: class of its settings.
        form: of its prompts.
        presets: as in PolicyFamily.
        kind: imports its network, which costs torch: called when a policy is trained or loaded.
        published: sizes of the published weights.
        lerobot: as what LeRobot's tools load an exported policy.
        loaded_by: as in PolicyFamily.
        licences: as in PolicyFamily.
    """

    def train(*args: Any, **kwargs: Any) -> dict[str, float]:
        from policy.flow.train import train

        return train(kind(), *args, **kwargs)

    def load(path: Path, *, runtime: Runtime = CPU) -> FlowActor:
        from policy.flow.acting import load_policy

        return load_policy(kind(), path, runtime=runtime)

    def with_acting(path: Path, out: Path, acting: Acting) -> str:
        from policy.flow.bundle import with_acting

        return with_acting(kind(), path, out, acting)

    def with_condition(path: Path, out: Path, words: str) -> str:
        from policy.flow.bundle import with_condition

        return with_condition(kind(), path, out, words)

    def export(path: Path, out: Path, place: Path, observations: Sequence[Observation]) -> Exported:
        from policy.flow.lerobot.export import export

        return export(kind(), lerobot, path, out, place, observations)

    def trained_for(path: Path) -> TrainedFor:
        from policy.flow.bundle import read_info

        return read_info(kind(), path).trained_for

    def needs(*args: Any, **kwargs: Any) -> Needs:
        from policy.flow.needs import flow_needs

        return flow_needs(kind(), *args, **kwargs)

    def check_files(config: FlowConfig, robot: RobotSpec) -> None:
        check_published(name, config, published)
        if config.start:
            import torch

            from policy.flow.weights import check_weights

            with torch.device("meta"):
                network = kind()(network_sizes(config, robot, robot.camera_names))
            check_weights(network, located(config.start))

    def check_checkpoint(folder: Path) -> tuple[str, list[str]]:
        from policy.flow.headers import check_checkpoint

        return check_checkpoint(kind(), published, folder)

    return PolicyFamily(
        name=name,
        config=config,
        presets=presets,
        relative_dims=relative_dims,
        image_size=lambda config: (config.network.image_size, config.network.image_size),
        check=partial(check, name, form),
        check_conditioning=partial(check_conditioning, name),
        check_files=check_files,
        base=base_config,
        train=train,
        load=load,
        networks=True,
        needs=needs,
        check_checkpoint=check_checkpoint,
        licences=licences,
        loaded_by=loaded_by,
        acts_by=("guidance", "noise_scale"),
        with_acting=with_acting,
        with_condition=with_condition,
        export=export,
        trained_for=trained_for,
    )
