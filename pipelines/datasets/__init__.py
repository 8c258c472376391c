"""Datasets of other programs: imported into a workspace, and written from one."""
