"""Train a LightningModule on scikit-learn's digits."""

import argparse

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

import thermolion
from thermolion import registry


class ToTheSweep(lightning.Callback):
    def on_validation_end(self, trainer, _module):
        if not trainer.sanity_checking:
            thermolion.log(trainer.global_step, **trainer.callback_metrics)


class Classifier(lightning.LightningModule):
    def __init__(self, arguments):
        super().__init__()
        self.arguments = arguments
        self.model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch):
        images, labels = batch
        loss = functional.cross_entropy(self.model(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch):
        self.log("val_accuracy", self.accuracy(*batch))

    def test_step(self, batch):
        self.log("test_accuracy", self.accuracy(*batch))

    def accuracy(self, images, labels):
        return (self.model(images).argmax(1) == labels).float().mean()

    def configure_optimizers(self):
        chosen = self.arguments
        return registry.build(chosen.opt, self.parameters(), {"lr": chosen.lr}, chosen.seed)


def loaders():
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    whole = TensorDataset(images, torch.tensor(digits.target))
    fixed = torch.Generator().manual_seed(0)
    train, validation, test = random_split(whole, [1200, 300, 297], generator=fixed)
    return (
        DataLoader(train, batch_size=64, shuffle=True),
        DataLoader(validation, batch_size=300),
        DataLoader(test, batch_size=300),
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--opt", default="adamw")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    lightning.seed_everything(arguments.seed)
    train, validation, test = loaders()
    model = Classifier(arguments)
    trainer = lightning.Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[ToTheSweep()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, train, validation)
    thermolion.log_final(**trainer.test(model, test)[0])


if __name__ == "__main__":
    main()
