#!/bin/bash

# Parameters
#SBATCH --array=0-99%8
#SBATCH --cpus-per-task=1
#SBATCH --dependency=afterany:17
#SBATCH --exclusive=user
#SBATCH --gpus-per-node=h100:1
#SBATCH --job-name=s-0001.0
#SBATCH --licenses=scratch
#SBATCH --mem=60G
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=3
#SBATCH --open-mode=append
#SBATCH --output=/shared/studies/s/submissions/0001/output/%a.log
#SBATCH --partition=accelerated
#SBATCH --requeue
#SBATCH --signal=USR2@300
#SBATCH --time=90

# setup
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export PYTHONIOENCODING=utf-8:backslashreplace
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export MALLOC_MMAP_THRESHOLD_=4294967296
export MALLOC_TRIM_THRESHOLD_=4294967296

# command
export SUBMITIT_EXECUTOR=slurm
exec srun --ntasks=3 --nodes=1 --cpus-per-task=1 --kill-on-bad-exit=0 --export=ALL --wait=0 --unbuffered --label apptainer exec --nv image.sif python3 -P -m thermolion.start slurm.node /shared/studies/s/submissions/0001
