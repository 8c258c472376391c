"""The command that asks for an import again is read by the command line as the same request."""

import shlex
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from cli.main import app
from pipelines.datasets.request import ImportRequest

REQUESTS = [
    ImportRequest(dataset=Path("d"), task="t"),
    ImportRequest(
        dataset=Path("a b/'c' $x"),
        task="t",
        source="rollout",
        policy="-p",
        robot="it's",
        cameras=("a=x y", "b=-z"),
        state=("s", "-q"),
        action=("--a",),
        image_size="24x32",
        jpeg_quality=None,
        outcome_column="done?",
        outcome_rule="once",
        intervention_column="-i",
        episodes="3,7-9",
        told=("fold\nit", "🍎"),
        instruction="-rf $(ls)",
        nominal_times=0.007,
        skip_broken=True,
    ),
    ImportRequest(dataset=Path("d"), task="t", outcomes=Path("o p.csv"), jpeg_quality=80),
]


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("workspace", [Path("runs"), Path("-odd ? w")])
def test_typed_again_it_is_the_same_request(request_, workspace):
    words = shlex.split(request_.again(workspace))
    assert words[0] == "recap"
    with mock.patch("cli.views.show_import") as shown:
        done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, done.output
    (root, asked), _ = shown.call_args
    assert (Path(root), asked) == (workspace, request_)


def test_a_changed_field_is_asked_for_instead():
    words = shlex.split(REQUESTS[1].again(Path("runs"), told=(), instruction=None, skip_broken=False))
    assert not {"--told", "--instruction", "--skip-broken"} & set(words)
