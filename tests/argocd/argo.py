"""Runs Lua as Argo CD does for scripts from argocd-cm: Lua 5.1, base, package and table libraries, a safe `os`.

Argo CD itself uses gopher-lua; e2e/stories/test_gitops.py runs the same scripts there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lupa import lua51

ROOT = Path(__file__).parents[2] / "charts/distillery/argocd"
JOB = ROOT / "resource_customizations/distillery.dev/DistillationJob"
PROFILE = ROOT / "resource_customizations/distillery.dev/DistillationProfile"

SANDBOX = """
local safe = { time = os.time, date = os.date }
getmetatable("").__index = nil
string, math, io, debug, coroutine, os = nil, nil, nil, nil, nil, nil
for name in pairs(package.loaded) do
  if name ~= "_G" and name ~= "package" and name ~= "table" then package.loaded[name] = nil end
end
package.loaded.os = safe
python = nil
"""


def run(script: str, obj: dict[str, Any]) -> Any:
    """Run a script on an object and return what it returns, as JSON values."""
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    lua.execute(SANDBOX)
    lua.globals().obj = _into(lua, obj)
    return _out_of(lua.execute(script))


def health(obj: dict[str, Any], kind: Path = JOB) -> tuple[str, str]:
    """Return status and message."""
    result = run((kind / "health.lua").read_text(), obj)
    return result["status"], result.get("message", "")


def offered(obj: dict[str, Any]) -> list[str]:
    """Return the names of the actions that discovery offers, sorted."""
    return sorted(run((JOB / "actions/discovery.lua").read_text(), obj) or {})


def act(action: str, obj: dict[str, Any]) -> dict[str, Any]:
    """Return the object that an action leaves, empty lists turned back into the maps that they were."""
    result = run((JOB / f"actions/{action}/action.lua").read_text(), obj)
    return dict(_restored(result, obj))


def _into(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _into(lua, item) for key, item in value.items() if item is not None})
    if isinstance(value, list):
        return lua.table_from([_into(lua, item) for item in value])
    return value


def _out_of(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return int(value) if isinstance(value, float) and value.is_integer() else value
    items = dict(value.items())
    if set(items) == set(range(1, len(items) + 1)):
        return [_out_of(items[index]) for index in sorted(items)]
    return {key: _out_of(item) for key, item in items.items()}


def _restored(new: Any, old: Any) -> Any:
    if isinstance(new, list) and isinstance(old, dict):
        return new if new else {}
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: _restored(item, old[key]) if key in old else item for key, item in new.items()}
    if isinstance(new, list) and isinstance(old, list):
        return [_restored(item, old[index]) if index < len(old) else item for index, item in enumerate(new)]
    return new
