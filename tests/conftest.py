"""Settings of all tests."""

from hypothesis import settings

from children import pytest_runtest_call
from needed_tools import (
    pytest_addoption,
    pytest_report_teststatus,
    pytest_runtest_setup,
    pytest_terminal_summary,
)

__all__ = [
    "pytest_addoption",
    "pytest_report_teststatus",
    "pytest_runtest_call",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
]

# Machines differ and are shared: how long an example takes is no matter of a test.
settings.register_profile("distillery", deadline=None)
settings.load_profile("distillery")
