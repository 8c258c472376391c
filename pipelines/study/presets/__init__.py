"""The studies that have a name."""
