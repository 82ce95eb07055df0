"""The verbs of the command line: one function each, which prints and returns the exit code.

Heavy modules are imported by the verb that needs them, so that `plan` stays quick.
"""
