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
trap 'code=$?; [ ${#BASH_SOURCE[@]} -gt 1 ] || { echo "error: setup of the site profile failed with exit code $code at: $(sed -n "${LINENO}p" "$0")" >&2; exit "$code"; }' ERR
module load python
trap - ERR
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export PYTHONIOENCODING=utf-8:backslashreplace
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export MALLOC_MMAP_THRESHOLD_=4294967296
export MALLOC_TRIM_THRESHOLD_=4294967296

# command
export SUBMITIT_EXECUTOR=slurm
exec python3 -P -m thermolion.start slurm.feed /shared/studies s
