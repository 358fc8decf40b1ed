"""The example is scripts beside each other, not a package: they import one another by name."""

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"
sys.path.append(str(EXAMPLE))
