"""All exceptions of this project, which stand beside what raises them. Standard library only.

    ThermolionError
      InputError                  the user can change the input: exit code 2
        HyperparameterError       a ValueError too
        DataError                 a ValueError too
        SweepError
          Invalid                 raised without its file; Document.error adds file and line
        SiteError
        RunSourceError
      OperationError              the input is right, the work was not done: exit code 1
        CompilerError
        ReplicaError              a RuntimeError too
        LogError
        LockHeld
        CheckpointError
        CommandError
        ResultsError              becomes a CommandError
        RendezvousError
        GroupBroken               ends a rank; jobs.lane catches it
        FencedOut                 ends an attempt; jobs.lane catches it
        Diverged                  ends a trial, and is its result; jobs.lane catches it
        SlurmError
          NoAnswer
          QueueFull
          DaemonError
          ClusterError
        StoreError
        CollectError
        ExportError
        ComparisonError
        UnmeasuredError
          EarlyEndError
        BackendError
        ArchiveError
        TrialTooShort             tried again as a longer copy; submit.fault_drill catches it

A message names the value, the choices and the next step. A ValueError, a RuntimeError or an
AssertionError that is none of these is a wrong call of ours by a program, or a mistake of ours.
"""


class ThermolionError(Exception):
    """The root: raise one of the two kinds below instead."""


class InputError(ThermolionError):
    """The user can change what was given: a sweep, a profile, an option, a data set, a value."""


class OperationError(ThermolionError):
    """Something could not be done, though what was asked for is right."""
