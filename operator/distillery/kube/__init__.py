"""The Kubernetes API as distillery uses it: the only importer of the `kubernetes` package."""
