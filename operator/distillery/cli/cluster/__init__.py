"""The verbs on jobs of a cluster: a thin layer over the Kubernetes API, on the current kubeconfig."""
