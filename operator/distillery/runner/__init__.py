"""Runs a DistillationJob on this machine: the same plan, decisions and drivers as on a cluster."""
