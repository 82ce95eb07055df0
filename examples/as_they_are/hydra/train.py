"""Train on digits, configured by Hydra: python train.py optimizer=adamw optimizer.lr=0.01"""

import logging

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sklearn.datasets import load_digits
from torch import nn

log = logging.getLogger(__name__)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    log.info("\n%s", OmegaConf.to_yaml(cfg))
    torch.manual_seed(cfg.seed)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    model = nn.Sequential(
        nn.Linear(64, cfg.model.width), nn.ReLU(), nn.Linear(cfg.model.width, 10)
    )
    optimizer = instantiate(cfg.optimizer, params=model.parameters())
    accuracy = 0.0
    for epoch in range(cfg.epochs):
        for chosen in torch.randperm(1400).split(cfg.batch_size):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = model(images[1400:]).argmax(1).eq(labels[1400:])
        accuracy = right.float().mean().item()
        log.info("epoch %d | loss %.4f | val/acc %.4f", epoch, loss.item(), accuracy)
    return accuracy


if __name__ == "__main__":
    main()
