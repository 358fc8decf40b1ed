"""Distillery: model distillation as one declarative object."""

__version__ = "0.1.0"
