"""Runs that other tools have logged, read as they are and compared like trials of ours."""
