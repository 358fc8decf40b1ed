"""The filter stage: keep the answers worth learning, reject the rest with a reason."""
