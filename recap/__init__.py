"""Vocabulary and step engine: what recap talks about, and what makes a run resumable. Standard library and numpy."""
