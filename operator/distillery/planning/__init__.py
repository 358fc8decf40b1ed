"""The judgement, pure: what to run, what to do next, and what the status says."""
