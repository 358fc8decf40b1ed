"""Settings of all tests."""

from hypothesis import settings

from children import pytest_runtest_call

__all__ = ["pytest_runtest_call"]

# Machines differ and are shared: how long an example takes is no matter of a test.
settings.register_profile("distillery", deadline=None)
settings.load_profile("distillery")
