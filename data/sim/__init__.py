"""The simulated robot: physics, pictures, grasping, judging, the scripted expert. MuJoCo is imported only here."""
