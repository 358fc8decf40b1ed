"""Every key of the system, pinned: other releases look for their work under these names."""

from __future__ import annotations

from distillery.artifacts import layout


def test_keys_are_pinned() -> None:
    assert [
        layout.artifact("student", "1f"),
        layout.manifest("student", "1f"),
        layout.writer("student", "1f", "0a"),
        layout.answers("77"),
        layout.ledger("uid"),
        layout.pins("uid", "2e"),
        layout.checkpoints("student", "1f"),
        layout.release("router", "v"),
        layout.latest("router"),
        layout.probe("p"),
    ] == [
        "artifacts/student/1f/",
        "artifacts/student/1f/manifest.json",
        "artifacts/student/1f/data/0a/",
        "answers/77/",
        "jobs/uid/ledger/",
        "jobs/uid/pins/2e.json",
        "checkpoints/student/1f/",
        "models/router/v/",
        "models/router/latest.json",
        "probes/p",
    ]


def test_keys_are_recognised() -> None:
    key = layout.writer("student", "1f", "0a") + "model/config.json"
    assert layout.writer_of(key) == ("artifacts/student/1f/", "0a")
    assert layout.checkpoint_of(layout.checkpoints("student", "1f") + "step-1/state") == ("student", "1f")
    for other in (
        layout.manifest("student", "1f"),
        "artifacts/student/1f/data/0a",
        layout.answers("7") + "x",
    ):
        assert layout.writer_of(other) is None
        assert layout.checkpoint_of(other) is None
