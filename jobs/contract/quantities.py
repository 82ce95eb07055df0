"""Counts with their nouns, in every message alike: 1 trial, 2 trials."""


def quantity(n: int, noun: str) -> str:
    """Format a count with its noun: 1 trial, 2 trials."""
    return f"{n} {noun}" if n == 1 else f"{n} {plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of a noun that has a regular one."""
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return noun + ("es" if noun.endswith("ch") else "s")


def are(n: int) -> str:
    """Return the verb that agrees with a count."""
    return "is" if n == 1 else "are"
