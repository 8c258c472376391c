"""The simulated robot: physics, pictures, grasping, judging, the scripted expert. Only here and in data.tasks is MuJoCo."""
