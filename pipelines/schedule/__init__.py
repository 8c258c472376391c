"""Runs that start by themselves: entries of the user's crontab."""
