"""`recap data import` and `recap data export`: LeRobotDataset folders in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace


def import_dataset(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="LeRobotDataset folder, v3.0, v2.1 or v2.0.")],
    task: Annotated[str, typer.Option(help="Task of the episodes; one nobody knows gets a task file.")],
    source: Annotated[str, typer.Option(help="Who acted: demo, rollout or correction.")] = "demo",
    policy: Annotated[
        str | None, typer.Option(help="Name of the policy that acted (rollouts and corrections).")
    ] = None,
    robot: Annotated[str | None, typer.Option(help="Robot id; by default the dataset's robot_type.")] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FEATURE, e.g. cam_high=observation.images.top. Repeatable; by default all."),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Feature of the state. Repeatable: side by side. [observation.state]")
    ] = None,
    action: Annotated[list[str] | None, typer.Option(help="Feature of the action, likewise. [action]")] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Side or HEIGHTxWIDTH to letterbox to; by default as recorded.")
    ] = None,
    jpeg_quality: Annotated[
        int | None, typer.Option(help="Quality that images are kept at, 1 to 100; 95 if not said.")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Keep images without loss (large).")] = False,
    outcome_column: Annotated[
        str, typer.Option(help="Column of the frames or of the episodes that says how each attempt ended.")
    ] = "",
    outcome_rule: Annotated[
        str, typer.Option(help="What counts of a column of frames that is true for a while: once, or at the end.")
    ] = "",
    outcomes: Annotated[
        Path | None, typer.Option(help="CSV or JSON file of episode_index,outcome[,note] instead.")
    ] = None,
    intervention_column: Annotated[str, typer.Option(help="Column that is true where a human acted.")] = "",
    episodes: Annotated[str | None, typer.Option(help="Numbers of the episodes to take, e.g. 3,7-9.")] = None,
    told: Annotated[
        list[str] | None, typer.Option(help="Only episodes that were told this. Repeatable; by default all.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="The wording to use for all of them, instead of what the dataset says.")
    ] = None,
    nominal_times: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Frames stand at their nominal times; recorded times and pictures may be off by as much.",
        ),
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave broken episodes out.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Take the episodes of a LeRobotDataset into the workspace. Re-issue it to go on; nothing is taken twice."""
    from cli.views import show_import
    from pipelines.datasets.request import JPEG_QUALITY, ImportRequest
    from recap.errors import ConfigError

    if lossless and jpeg_quality is not None:
        raise ConfigError("--lossless and --jpeg-quality: expected one of them")
    request = ImportRequest(
        dataset=dataset,
        task=task,
        source=source,
        policy=policy,
        robot=robot,
        cameras=tuple(camera or ()),
        state=tuple(state or ("observation.state",)),
        action=tuple(action or ("action",)),
        image_size=image_size,
        jpeg_quality=None if lossless else JPEG_QUALITY if jpeg_quality is None else jpeg_quality,
        outcome_column=outcome_column,
        outcomes=outcomes,
        outcome_rule=outcome_rule,
        intervention_column=intervention_column,
        episodes=episodes,
        told=tuple(told or ()),
        instruction=instruction,
        nominal_times=nominal_times,
        skip_broken=skip_broken,
    )
    show_import(workspace, request, as_json=as_json)


def export_dataset(
    to: Annotated[Path, typer.Option(help="Folder to make.")],
    run: Annotated[
        str | None, typer.Option(help="Export what this run has labelled, with returns, values, advantages and labels.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only episodes of this task.")] = None,
    images: Annotated[bool, typer.Option("--images", help="Pictures as PNG, without loss; else as mp4.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Write episodes as a LeRobotDataset v3.0. The folder appears when it is whole."""
    from cli.views import show_export

    show_export(workspace, to, run=run, task=task, videos=not images, as_json=as_json)
