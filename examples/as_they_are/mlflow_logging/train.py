"""Fit a classifier of digits step by step; every run is logged to MLflow."""

import argparse

import mlflow
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--eta0", type=float, default=0.01)
    parser.add_argument("--penalty", default="l2", choices=["l2", "l1", "elasticnet"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    digits = load_digits()
    images, labels = digits.data / 16, digits.target
    classifier = SGDClassifier(
        loss="log_loss",
        learning_rate="constant",
        eta0=args.eta0,
        penalty=args.penalty,
        random_state=args.seed,
    )
    shuffled = np.random.default_rng(args.seed)

    mlflow.set_experiment("digits")
    with mlflow.start_run():
        mlflow.log_params(vars(args))
        for epoch in range(args.epochs):
            order = shuffled.permutation(1400)
            classifier.partial_fit(images[order], labels[order], classes=np.arange(10))
            held_out = images[1400:], labels[1400:]
            mlflow.log_metric("val_accuracy", classifier.score(*held_out), step=epoch)
            loss = log_loss(held_out[1], classifier.predict_proba(held_out[0]), labels=range(10))
            mlflow.log_metric("val_loss", loss, step=epoch)


if __name__ == "__main__":
    main()
