"""LeRobotDataset folders, in and out; no hub, no network.

files.py       what any file may turn out to be: absent, a git-lfs pointer, no text
folder.py      what the meta files say, checked: versions 2.0, 2.1 and 3.0
features.py    the columns: types, shapes, names of the numbers, depth
tables.py      numbers, words, times and pictures of one episode from its parquet file
video.py       the pictures of one episode from a film, by their times
wordings.py    what an episode was told
mapping.py     which column and camera becomes what, checked against the features
reading.py     one recorded episode as an EpisodeDraft
task_draft.py  a first description of the task, from the meta files
writing.py     episodes as a new LeRobotDataset v3.0, by LeRobot's own writer (only here is lerobot imported)

What is read was written by others: no path, format string or number of it is trusted, and nothing is unpickled.
"""
