"""The worker: runs the attempt that its pod was made for, and tells the operator about it.

`python -m distillery.worker` is the constant entrypoint of every RayJob.
"""
