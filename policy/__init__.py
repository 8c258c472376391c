"""Policies that read the advantage in their prompt. Never imports value_model."""
