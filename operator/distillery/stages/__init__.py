"""The five stages of a distillation: one folder each, declared in `catalog`."""
