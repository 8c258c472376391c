"""A task in one file: found by its name, checked field by field, and no simulator behind it."""

import json

import pytest

from data.task_file import RecordedTask, read_task_file, write_task_file
from data.tasks import TASKS, SimTask, capabilities_of
from recap.errors import ConfigError, RecapError, UnknownName
from recap.protocols import Capabilities
from recap.specs import CameraSpec, RobotSpec, TaskSpec
from recap.task_folders import ENVIRONMENT, offer, offered

ROBOT = RobotSpec(
    id="arm: the first",
    state_names=("shoulder", "yes", "null"),
    action_names=("shoulder", "gripper"),
    action_units=("rad", "0..1"),
    gripper_dims=(1,),
    cameras=(CameraSpec(name="top", height=48, width=64), CameraSpec(name="hand", height=24, width=24)),
)
SPEC = TaskSpec(
    id="cubes",
    prompt='put the "cube" # into: the box\n',
    robot=ROBOT.id,
    max_steps=100,
    rate_hz=29.97002997,
    lookahead_s=1.5,
    positive_fraction=0.4,
    reset_s=0.0,
    success="- in the box",
)


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "")


@pytest.fixture
def path(tmp_path):
    folder = offer(tmp_path)
    write_task_file(folder / "cubes.yaml", SPEC, ROBOT)
    return folder / "cubes.yaml"


def test_what_is_written_is_read_back(path):
    task = read_task_file(path)
    assert (task.spec, task.robot) == (SPEC, ROBOT)


def test_it_is_found_by_name_and_again_after_an_edit(path):
    assert TASKS.get("cubes").spec.max_steps == 100
    assert {"cubes", "shirt_folding"} <= set(TASKS.names())
    path.write_text(path.read_text().replace("max_steps: 100", "max_steps: 2000"))
    assert TASKS.get("cubes").spec.max_steps == 2000
    with pytest.raises(UnknownName, match="did you mean 'cubes'"):
        TASKS.get("cube")


def test_json_will_do_and_one_unit_stands_for_all(path, tmp_path):
    value = read_task_file(path).describe()
    cameras = {camera["name"]: [camera["height"], camera["width"]] for camera in value["robot"]["cameras"]}
    robot = {**value["robot"], "cameras": cameras, "action_units": "rad"}
    path.unlink()
    (tmp_path / "tasks" / "cubes.json").write_text(json.dumps({**value["spec"], "robot": robot}))
    assert TASKS.get("cubes").robot.action_units == ("rad", "rad")


def test_what_needs_a_simulator_says_so(path):
    task = TASKS.get("cubes")
    assert isinstance(task, RecordedTask)
    assert not isinstance(task, SimTask)
    assert capabilities_of(task) == Capabilities()
    with pytest.raises(ConfigError, match=r"'cubes' has no simulator.*cubes\.yaml") as refused:
        TASKS.simulated("cubes")
    assert "--collect none" in refused.value.hint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_steps: 100", "max_steps: 0", "max_steps is 0, expected a whole number > 0"),
        ("max_steps: 100", "max_steps: true", "max_steps is True"),
        ("max_steps: 100", "max_step: 100", "did you mean 'max_steps'"),
        ("max_steps: 100", "", "max_steps missing"),
        ("max_steps: 100", "max_steps: 100\nmax_steps: 200", "'max_steps' is given twice"),
        ("rate_hz: 29.97002997", "rate_hz: .nan", "rate_hz is nan"),
        ("positive_fraction: 0.4", "positive_fraction: 1", "positive_fraction is 1, expected a number within"),
        ("positive_fraction: 0.4", "positive_share: 0.4", "positive_share is now called positive_fraction"),
        ('id: "cubes"', "id: cube", "id 'cube', expected 'cubes' as the file is called"),
        ('["shoulder", "gripper"]', "[shoulder, shoulder]", "robot.action_names is .*, expected a list of different"),
        ('["rad", "0..1"]', "[rad]", "robot.action_units is .*, expected one unit, or a list of 2"),
        ("gripper_dims: [1]", "gripper_dims: [2]", "robot.gripper_dims is .*, expected a list of places from 0 to 1"),
        ('"top": [48, 64]', '"top": 48', "robot.cameras is .*, expected name: .height, width."),
        ("robot:", "robot: !!python/object/apply:os.system [true]\nrest:", "not readable as YAML"),
        ("robot:", "robot: [", "not readable as YAML"),
    ],
)
def test_a_wrong_field_is_named(path, old, new, said):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(RecapError, match=said):
        TASKS.get("cubes")


def test_a_name_leads_nowhere_else(path):
    for name in ("../tasks/cubes", "tasks/cubes", ".cubes", ""):
        with pytest.raises(UnknownName):
            TASKS.get(name)


def test_one_name_means_one_task(path, tmp_path):
    (path.parent / "cubes.yml").write_text(path.read_text())
    with pytest.raises(ConfigError, match="described twice"):
        TASKS.get("cubes")
    (path.parent / "shirt_folding.yaml").write_text(path.read_text())
    with pytest.raises(ConfigError, match="built in and described in"):
        TASKS.get("shirt_folding")


def test_the_folder_offered_last_is_searched_first(tmp_path):
    first, second = offer(tmp_path / "a"), offer(tmp_path / "b")
    assert offer(tmp_path / "b") == second
    assert offered() == (second, first)
