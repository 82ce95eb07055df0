#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --cpus-per-task=1
#SBATCH --dependency=afterany:17_9
#SBATCH --job-name=s-0001-feed
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/studies/s/submissions/0001/feed.log
#SBATCH --partition=gpu
#SBATCH --signal=USR2@90
#SBATCH --time=10

# setup
module load python
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export MALLOC_MMAP_THRESHOLD_=4294967296
export MALLOC_TRIM_THRESHOLD_=4294967296

# command
export SUBMITIT_EXECUTOR=slurm
exec python3 -P -m slurm.feed /shared/studies s
