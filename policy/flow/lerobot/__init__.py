"""How LeRobot knows the policies of recap: the files of a folder, and what their policy classes and processors share.

`files.py` imports neither LeRobot nor torch; the others are for LeRobot's own tools, and recap acts without them.
"""
