"""The face of the package: what outsiders see of it, and what it costs to look."""

import re
import sys
from pathlib import Path

import children
import distillery.querying

PACKAGE = Path(distillery.querying.__file__).parent
HEAVY = (
    "torch",
    "transformers",
    "ray",
    "openai",
    "numpy",
    "pyarrow",
    "scipy",
    "sklearn",
    "boto3",
    "kubernetes",
    "kopf",
)


def load(*modules, without):
    """Import modules in a process of its own in which others cannot be imported; return what was loaded."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r}))\n"
        f"import {', '.join(modules)}\n"
        "print('\\n'.join(name for name, module in sys.modules.items() if module is not None))"
    )
    done = children.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_face_needs_no_heavy_library():
    assert "distillery.querying.engine" in load("distillery.querying", without=HEAVY)


def test_what_runs_in_the_operators_image_does_without_the_teacher_engine():
    modules = ("distillery.controller.reconcile", "distillery.stages.catalog", "distillery.cli.app")
    lacking = [name for name in HEAVY if name not in ("kubernetes", "kopf")]
    assert "distillery.querying" not in load(*modules, without=[*lacking, "msgspec"])


def test_the_face_shows_what_outsiders_use_and_no_more():
    used = set()
    for path in PACKAGE.parent.rglob("*.py"):
        if path.is_relative_to(PACKAGE):
            continue
        for names in re.findall(r"from distillery\.querying import (\([^)]*\)|.*)", path.read_text()):
            used |= set(re.findall(r"\w+", names))
    assert set(distillery.querying.__all__) == used


def test_the_face_names_every_file_of_the_package():
    named = set(re.findall(r"`(\w+)`", (distillery.querying.__doc__ or "").split("Files:")[1]))
    assert named == {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
