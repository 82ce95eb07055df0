"""Trials and curves as files for other tools."""
