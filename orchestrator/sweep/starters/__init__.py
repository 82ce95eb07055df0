"""Sweep files to start from, and what is read of a script for them."""
