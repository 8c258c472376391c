"""Configuration files of LeRobot robots and teleoperators: what is taken, and what is refused by name."""

import json

import numpy as np
import pytest
from bench_recording import leader_file, robot_file

from data.robots.lerobot_config import RobotSetup, load_robot, load_teleoperator
from data.robots.lerobot_robot import LeRobotRobot, Teleoperator
from data.tasks import TASKS
from recap.errors import ActionRefused, ConfigError, RobotFault, UnknownName
from recap.specs import CameraSpec, RobotSpec


def changed(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


def fit(path):
    device, setup = load_robot(path)
    task = TASKS.get("bench_folding")
    return LeRobotRobot(device, task.robot, setup, rate_hz=10.0, prompt="fold")


def test_a_yaml_file_says_the_same_as_json(tmp_path):
    import yaml

    path = robot_file(tmp_path)
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(json.loads(path.read_text())))
    _, setup = load_robot(tmp_path / "robot.yaml")
    assert setup == load_robot(path)[1]
    assert setup.limits["left_grip"] == (-0.05, 1.05)


def test_an_unknown_type_answers_with_the_nearest_and_knows_lerobots_own(tmp_path):
    with pytest.raises(UnknownName, match="unknown LeRobot robot 'bench_arm': did you mean 'bench_arms'"):
        load_robot(robot_file(tmp_path, type="bench_arm"))
    with pytest.raises(UnknownName, match="did you mean 'so101_follower'"):
        load_robot(robot_file(tmp_path, type="so101_folower"))
    with pytest.raises(UnknownName, match="unknown LeRobot teleoperator 'so101_leade': did you mean 'so101_leader'"):
        load_teleoperator(changed(leader_file(tmp_path), type="so101_leade"))


def test_a_plug_in_that_cannot_be_imported_is_named_when_its_type_is_missed(tmp_path, monkeypatch):
    info = tmp_path / "lerobot_robot_torn-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lerobot_robot_torn\nVersion: 1\n")
    (tmp_path / "lerobot_robot_torn.py").write_text("import no_such_driver\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownName, match="lerobot_robot_torn could not be imported: ModuleNotFoundError"):
        load_robot(robot_file(tmp_path, type="torn"))
    load_robot(robot_file(tmp_path))


def test_a_package_named_in_the_file_is_imported(tmp_path, monkeypatch):
    package = tmp_path / "my_robots"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from dataclasses import dataclass\n"
        "from lerobot.robots import RobotConfig\n"
        "from lerobot_robot_bench import BenchArms\n"
        "from lerobot_robot_bench.config_bench_arms import BenchArmsConfig\n"
        "@RobotConfig.register_subclass('my_arms')\n"
        "@dataclass(kw_only=True)\n"
        "class MyArmsConfig(BenchArmsConfig): pass\n"
        "class MyArms(BenchArms): config_class = MyArmsConfig\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = robot_file(tmp_path, type="my_arms", discover_packages_path="my_robots")
    assert type(load_robot(path)[0]).__name__ == "MyArms"
    with pytest.raises(ConfigError, match="no_such_package"):
        load_robot(changed(path, discover_packages_path="no_such_package"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"frob": 1}, "frob"),
        ({"image_size": "large"}, "image_size"),
        ({"image_size": 3}, "could not be made.*image_size must be within"),
        ({"recap": None}, "no 'recap: limits:'"),
        ({"recap": {"limits": {}, "limit": {}}}, "did you mean 'limits'"),
        ({"recap": {"limits": [1, 2]}}, "recap.limits is"),
        ({"recap": {"limits": {"a": [1, 1]}}}, r"recap.limits.a is \[1, 1\], expected"),
        ({"recap": {"limits": {"a": [0, float("nan")]}}}, "recap.limits.a"),
        ({"recap": {"limits": {}, "handover_s": -1}}, "handover_s is -1"),
        ({"recap": {"limits": {}, "cameras": {"cam_high": 1}}}, "recap.cameras is"),
        ({"recap": {"limits": {}, "buttons": "yes"}}, "recap.buttons is 'yes', expected true or false"),
        ({"recap": {"limits": {}, "read_retries": 11}}, "recap.read_retries is 11, expected a whole number, 0..10"),
        ({"recap": {"limits": {}, "stale_steps": 2.0}}, "recap.stale_steps is 2.0, expected a whole number, 0..1000"),
        ({"recap": {"limits": {}, "stale_steps": True}}, "recap.stale_steps is True"),
        ({"recap": {"limits": {}, "stale_step": 1}}, "did you mean 'stale_steps'"),
    ],
)
def test_a_bad_field_is_named(tmp_path, fields, said):
    with pytest.raises(ConfigError, match=said):
        load_robot(changed(robot_file(tmp_path), **fields))


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"--robot-config .*nothing.yaml: No such file"):
        load_robot(tmp_path / "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="neither YAML nor JSON"):
        load_teleoperator(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("port: x")
    with pytest.raises(ConfigError, match="'type' among them"):
        load_robot(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="'recap' belongs into the file of --robot-config"):
        load_teleoperator(changed(leader_file(tmp_path), recap={}))


def test_a_robot_that_does_not_fit_the_task_is_refused_with_everything_that_is_wrong(tmp_path):
    path = robot_file(tmp_path, setup={"cameras": {"cam_high": "high", "cam_low": "x"}, "limits": {"elbow": [0, 1]}})
    with pytest.raises(ConfigError) as caught:
        fit(path)
    text = str(caught.value)
    assert "no camera 'cam_left_wrist'; the robot has: high, left_wrist, right_wrist" in text
    assert "'cam_low' is no camera of the task" in text
    assert "no [lowest, highest] for action channel 'left_grip'" in text
    assert "'elbow' is no action channel of the task" in text
    path = robot_file(
        tmp_path, setup={"state": {"left_grip": "left_hand.pos"}, "action": {"left_grip": "right_grip.pos"}}
    )
    with pytest.raises(ConfigError) as caught:
        fit(path)
    text = str(caught.value)
    assert "no state 'left_hand.pos'" in text
    assert "two action channels of the task are one of the robot" in text
    assert "the robot also wants the action 'left_grip.pos'" in text


def test_a_teleoperator_of_another_robot_is_refused(tmp_path):
    robot = fit(robot_file(tmp_path))
    device = load_teleoperator(leader_file(tmp_path))
    keys = robot.action_keys

    class Other:
        name, action_features = "gamepad", dict.fromkeys(keys[2:], float)

    with pytest.raises(ConfigError, match=f"gives no {keys[0]}, {keys[1]}, which the robot 'bench_arms' takes"):
        Teleoperator(Other(), robot, rate_hz=10)
    Teleoperator(device, robot, rate_hz=10)


class Device:
    """The smallest robot: one joint, one camera, and what it answers."""

    name = "one"

    def __init__(self, **answers):
        self.observation_features = {"joint.pos": float, "eye": (4, 6, 3)}
        self.action_features = {"joint.pos": float}
        self.seen = {"joint.pos": 0.5, "eye": np.full((4, 6, 3), 9, np.uint8)} | answers
        self.returned = {"joint.pos": 0.25}
        self.commands = []

    def get_observation(self):
        return self.seen

    def send_action(self, action):
        self.commands.append(action)
        return self.returned


def one(device):
    spec = RobotSpec(
        id="one",
        state_names=("joint",),
        action_names=("joint",),
        action_units=("rad",),
        gripper_dims=(),
        cameras=(CameraSpec(name="eye", height=3, width=3),),
    )
    return LeRobotRobot(device, spec, RobotSetup(limits={"joint": (-0.1, 1.1)}), rate_hz=1000.0, prompt="turn")


def test_images_are_letterboxed_to_the_size_of_the_task_and_commands_at_the_limit_pass():
    device = Device()
    robot = one(device)
    frame = robot.observe().frames["eye"]
    assert frame.shape == (3, 3, 3)
    assert frame[:, 0].max() == 9
    sent = robot.step(np.array([1.1], dtype=np.float32))
    assert device.commands == [{"joint.pos": float(np.float32(1.1))}]
    assert sent.action == [0.25], "the robot says what it made of it"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"joint.pos": float("nan")}, "observation is not finite in joint.pos"),
        ({"joint.pos": "left"}, "observation failed: ValueError"),
        ({"eye": None}, "camera 'eye' gave object"),
    ],
)
def test_an_observation_that_is_none_is_a_fault(answers, said):
    robot = one(Device(**answers))
    with pytest.raises(RobotFault, match=said):
        robot.observe()


def test_a_robot_need_not_say_what_it_sent_but_must_not_say_half_of_it():
    device = Device()
    robot = one(device)
    with pytest.raises(ActionRefused, match=r"shape \(2,\), expected \(1,\)"):
        robot.step(np.zeros(2, dtype=np.float32))
    assert device.commands == []
    sent = robot.step(np.ones(1, dtype=np.float32))
    assert (sent.action, sent.asked, robot.reports) == ([0.25], [1.0], True)
    for device.returned in (None, {}):
        sent = robot.step(np.full(1, 0.75, dtype=np.float32))
        assert (sent.action, sent.asked, robot.reports) == ([0.75], [0.75], False)
    for device.returned, said in ((0.5, "returned float"), ({"joint": 0.5}, r"no joint.pos in its action sent")):
        with pytest.raises(RobotFault, match=said):
            robot.step(np.zeros(1, dtype=np.float32))
