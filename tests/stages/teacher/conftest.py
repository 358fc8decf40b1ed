from __future__ import annotations

from pathlib import Path

import pytest

from distillery.stages import asking
from querying_builders import QUICK
from teacher_stage import World, make_rows


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with rows and an impatient engine."""
    monkeypatch.setattr(asking, "EngineOptions", lambda: QUICK)
    return World(tmp_path).with_rows(make_rows())
