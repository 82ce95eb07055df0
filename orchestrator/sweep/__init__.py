"""The file that a user writes, read and checked."""
