#!/bin/bash

# Parameters
#SBATCH --array=0-99%8
#SBATCH --cpus-per-task=2
#SBATCH --dependency=afterany:17
#SBATCH --job-name=s-0001.0
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/studies/s/submissions/0001/output/%a.log
#SBATCH --requeue
#SBATCH --signal=USR2@120

# setup
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export PYTHONIOENCODING=utf-8:backslashreplace
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export MALLOC_MMAP_THRESHOLD_=4294967296
export MALLOC_TRIM_THRESHOLD_=4294967296

# command
export SUBMITIT_EXECUTOR=slurm
exec srun --ntasks=1 --nodes=1 --cpus-per-task=2 --kill-on-bad-exit=0 --export=ALL --container-image=/scratch/lab.sqsh --container-mounts=/shared/studies:/shared/studies --wait=60 --unbuffered python3 -P -m thermolion.start slurm.node /shared/studies/s/submissions/0001
