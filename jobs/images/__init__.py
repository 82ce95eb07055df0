"""Image classification: data, models, training loop, evaluation."""
