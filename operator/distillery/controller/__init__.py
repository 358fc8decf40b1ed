"""The operator: watches, one queue of jobs, one reconciler, and the shell that keeps them alive."""
