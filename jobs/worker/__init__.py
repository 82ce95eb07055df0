"""What every training is given: context, checkpoints, stopping, fencing."""
