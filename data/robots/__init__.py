"""Robots other than the built-in simulator, and how a person records with them.

lerobot_config.py   configuration files -> LeRobot's Robot and Teleoperator, third-party plug-ins included
lerobot_robot.py    the two as environment and actor: names, limits, control rate, what stands in for a failed reading
env_file.py         which robot and teleoperator a run works with
chunks.py           a policy that computes while its last chunk plays
replay.py           what a policy says of recorded observations, before it moves anything
dry.py              a robot that is read and not moved
device.py           calls to a driver: faults, retries, connecting and letting go
keyboard.py         single keys from the terminal
signals.py          Ctrl-C as a wish to stop, not as an exception in the middle of a command
pace.py             the clock of the control period
recording.py        one attempt, with a person who can take over at any step
session.py          attempt after attempt: verdicts, undo, what is stored
gym.py              gymnasium environments as simulated tasks

Importing this package loads neither LeRobot nor gymnasium.
"""
