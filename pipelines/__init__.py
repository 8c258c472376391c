"""Composition of the layers below: the loop, its steps, presets, executors, tracking, report."""
