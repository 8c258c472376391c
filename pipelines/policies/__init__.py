"""Policies outside of a run: found by what a person calls them, exported for LeRobot, evaluated."""
