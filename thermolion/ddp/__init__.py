"""ThermoLion under DistributedDataParallel: what the gate sees, and replicas that stay equal."""
