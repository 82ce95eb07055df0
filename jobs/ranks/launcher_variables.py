"""What launchers leave in a shell: the place of a process among others that are none of ours.

A lane knows its rank from its launch. A training that read these would take itself for one rank
of many: it would wait for the others, or leave the log to rank 0.
"""

import os

# torchrun, MPI and its kin, SLURM, LSF, Flux.
_NAMES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
        *("MASTER_ADDR", "MASTER_PORT", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    }
)
_PREFIXES = (
    *("TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_", "PALS_", "MV2_COMM_WORLD_", "HYDI_", "HYDRA_"),
    *("SLURM_", "SLURMD_", "JSM_", "FLUX_TASK_"),
)
# Settings of Open MPI by its user, and how SLURM's commands find their cluster and are let in.
KEPT_SLURM = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_TMPDIR"})
_KEPT_PREFIX = "OMPI_MCA_"


def forget_launcher() -> None:
    """Remove from the environment what another launcher has said of this process's place."""
    for name in list(os.environ):
        is_said = name in _NAMES or name.startswith(_PREFIXES)
        if is_said and name not in KEPT_SLURM and not name.startswith(_KEPT_PREFIX):
            del os.environ[name]
