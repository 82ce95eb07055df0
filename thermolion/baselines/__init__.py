"""Optimizers that ThermoLion is compared with and that torch does not have."""
