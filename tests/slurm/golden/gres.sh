#!/bin/bash

# Parameters
#SBATCH --account=lab-gpu
#SBATCH --array=0-99%8
#SBATCH --constraint='a100&nvlink'
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterany:17
#SBATCH --gres=gpu:a100:4
#SBATCH --job-name=s-0001.0
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/shared/studies/s/submissions/0001/output/%a.log
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=720

# setup
trap 'code=$?; [ ${#BASH_SOURCE[@]} -gt 1 ] || { echo "error: setup of the site profile failed with exit code $code at: $(sed -n "${LINENO}p" "$0")" >&2; exit "$code"; }' ERR
module purge
module load python/3.11
trap - ERR
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export PYTHONIOENCODING=utf-8:backslashreplace
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export MALLOC_MMAP_THRESHOLD_=4294967296
export MALLOC_TRIM_THRESHOLD_=4294967296

# command
export SUBMITIT_EXECUTOR=slurm
exec srun --ntasks=8 --nodes=2 --cpus-per-task=8 --kill-on-bad-exit=0 --export=ALL --wait=60 --unbuffered python3 -P -m thermolion.start slurm.node /shared/studies/s/submissions/0001
