"""The teacher engine: asks an OpenAI-compatible endpoint, never buys an answer twice, accounts for every call."""
