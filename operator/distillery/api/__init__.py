"""The contract with users: objects, their fields, and the one YAML loader."""
