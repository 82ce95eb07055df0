#!/bin/bash

# Parameters
#SBATCH --array=0-99%8
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterany:17
#SBATCH --gres=gpu:1
#SBATCH --job-name=s-0001.0
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/studies/s/submissions/0001/output/%a.log
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=B:USR2@120

# setup
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export PYTHONIOENCODING=utf-8:backslashreplace
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export MALLOC_MMAP_THRESHOLD_=4294967296
export MALLOC_TRIM_THRESHOLD_=4294967296

# command
export SUBMITIT_EXECUTOR=slurm
exec apptainer exec --nv --bind /shared/studies,/scratch,/data:/data:ro '/scratch/me/lab image.sif' python3 -P -m thermolion.start slurm.node /shared/studies/s/submissions/0001
