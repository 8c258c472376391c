"""The steps of the loop, one file each: every file registers itself and imports nothing heavy until it runs."""
