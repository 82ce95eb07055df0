"""The user's own training: a function, or a command."""
