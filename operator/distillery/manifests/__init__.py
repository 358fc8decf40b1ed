"""The Kubernetes objects of a job, as dicts: what the operator creates, rendered from values alone. Pure."""
