"""A kubeconfig that is missing, or leads nowhere: the message names file, context and repair."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import children

REPAIR = "name one with --kubeconfig or KUBECONFIG"
MISSING = f"there is no kubeconfig (looked at ~/.kube/config and $KUBECONFIG) → {REPAIR}"


def config(*names: str, **fields: str) -> str:
    return json.dumps({"contexts": [{"name": name, "context": {"cluster": "c"}} for name in names]} | fields)


@pytest.mark.parametrize("flags", [(), ("--context", "prod")])
def test_without_a_kubeconfig_it_is_said_where_one_was_looked_for(
    flags: tuple[str, ...], distillery: Any
) -> None:
    done = distillery("cost", "tiny", *flags)
    assert (done.code, done.out, done.err) == (1, "", f"error: {MISSING}\n")


def test_the_client_s_own_log_stays_silent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "distillery", "cost", "tiny"]
    done = children.run(command, capture_output=True, text=True, env={"HOME": str(tmp_path)}, check=False)
    assert done.stderr == f"error: {MISSING}\n"


def test_a_pod_s_context_is_looked_for_in_a_kubeconfig_too(
    distillery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert distillery("cost", "tiny", "--context", "prod").err == f"error: {MISSING}\n"


def test_a_named_file_that_is_not_there_is_named(distillery: Any) -> None:
    done = distillery("cost", "tiny", "--kubeconfig", "nowhere")
    why = "kubeconfig nowhere does not exist → name a file with --kubeconfig or KUBECONFIG"
    assert (done.code, done.err) == (1, f"error: {why}\n")


many = [f"c{number}" for number in range(20)]
FAULTS = {
    "an unknown context": (
        config("test", "prod", **{"current-context": "test"}),
        ("--context", "porod"),
        "kubeconfig config has no context porod → name one with --context: test, prod",
    ),
    "a current context that is gone": (
        config("test", **{"current-context": "old"}),
        (),
        "kubeconfig config has no context old → name one with --context: test",
    ),
    "no current context": (
        config("test", "prod", **{"current-context": ""}),
        (),
        "kubeconfig config has no current context → name one with --context: test, prod",
    ),
    "many contexts": (
        config(*many),
        (),
        f"kubeconfig config has no current context → name one with --context: {', '.join(many[:12])}, …",
    ),
    "an empty file": ("", (), f"kubeconfig config has no contexts → {REPAIR}"),
    "no contexts": ("contexts: []\n", (), f"kubeconfig config has no contexts → {REPAIR}"),
    "contexts that are none": (
        "contexts: [1, {name: 2}]\n",
        (),
        f"kubeconfig config has no contexts → {REPAIR}",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_context_that_cannot_be_meant_is_answered_with_those_that_can(name: str, distillery: Any) -> None:
    text, flags, why = FAULTS[name]
    Path("config").write_text(text)
    done = distillery("cost", "tiny", "--kubeconfig", "config", *flags)
    assert (done.code, done.out, done.err) == (1, "", f"error: {why}\n")


def test_what_else_is_wrong_with_a_kubeconfig_stays_in_the_client_s_words(distillery: Any) -> None:
    Path("config").write_text(config("test", **{"current-context": "test"}))
    done = distillery("cost", "tiny", "--kubeconfig", "config")
    assert done.code == 1
    assert done.err.startswith("error: no usable kubeconfig: ")
    Path("config").write_text("a: : b")
    assert "line 1" in distillery("cost", "tiny", "--kubeconfig", "config").err


def test_contexts_of_several_files_are_one_list(distillery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("one").write_text(config("test"))
    Path("two").write_text(config("prod"))
    monkeypatch.setenv("KUBECONFIG", "one:two:three")
    done = distillery("cost", "tiny", "--context", "old")
    assert done.err == "error: kubeconfig one:two has no context old → name one with --context: test, prod\n"
