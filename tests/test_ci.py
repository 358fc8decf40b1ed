"""What a change must pass, in which order and environment; and that every test is run by one of these commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import children

ROOT = Path(__file__).parents[1]
MAKE = """#!/bin/sh
echo "$* ${SECRET-no secret} $(ls -A "$HOME" | wc -l)" >> "$(dirname "$0")/../said"
[ "$*" != "$(cat "$(dirname "$0")/fails")" ]
"""
FIRST = ["install a secret 0", "test no secret 0", "test-long a secret 0", "quickstart a secret 0"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One with a `make` that only notes what is wanted, what secret is set, and how many files HOME holds."""
    folder = tmp_path / "check out"
    for name in (".ci", "e2e/cluster", "bin", "home"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    programs = {"bin/make": MAKE, "bin/go": "#!/bin/sh\n", "e2e/cluster/possible": "#!/bin/sh\n"}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "bin/fails").write_text("nothing")
    return folder


def ran(checkout: Path) -> tuple[int, list[str], str]:
    path = os.pathsep.join([str(checkout / "bin"), "/usr/bin", "/bin"])
    environment = {"PATH": path, "HOME": str(checkout / "home"), "SECRET": "a secret"}
    done = children.run(
        [checkout / ".ci/run"], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    return done.returncode, (checkout / "said").read_text().splitlines(), done.stderr.decode()


def test_the_tests_run_once_as_a_newcomer_runs_them(checkout: Path) -> None:
    assert ran(checkout) == (0, [*FIRST, "e2e a secret 0", "test-tools a secret 0"], "")


def test_a_machine_that_cannot_hold_a_cluster_runs_what_it_can(checkout: Path) -> None:
    (checkout / "e2e/cluster/possible").write_text("#!/bin/sh\nexit 1\n")
    servers = ["e2e-s3 a secret 0", "e2e-api a secret 0", "test-tools a secret 0"]
    assert ran(checkout) == (0, [*FIRST, *servers], "")


def test_a_machine_without_go_says_what_it_has_not_run(checkout: Path) -> None:
    (checkout / "e2e/cluster/possible").write_text("#!/bin/sh\nexit 1\n")
    (checkout / "bin/go").unlink()
    if shutil.which("go", path="/usr/bin:/bin"):
        pytest.skip("Go is installed system-wide")
    code, said, err = ran(checkout)
    assert (code, said) == (1, FIRST)
    assert "make test-tools" in err


@pytest.mark.parametrize("what", ["install", "test", "test-long", "e2e", "test-tools"])
def test_whatever_fails_fails_all_of_it(what: str, checkout: Path) -> None:
    (checkout / "bin/fails").write_text(what)
    code, said, _ = ran(checkout)
    assert code != 0
    assert said[-1].split()[0] == what


def test_every_marker_that_leaves_tests_out_is_run_by_a_command() -> None:
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    commands = {
        entry.split(":")[0].split("(")[0]: re.findall(r"`make ([a-z0-9-]+)`", entry) for entry in markers
    }
    assert all(commands.values()), commands
    targets = re.findall(r"^([a-z0-9-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {command for named in commands.values() for command in named} <= set(targets)
    [anywhere] = re.findall(r"^ANYWHERE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"not (\w+)", anywhere)) | {"long"} == set(commands) - {"needs_tools", "full"}
