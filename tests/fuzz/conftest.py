"""Helpers of this folder (fuzz_*.py) are importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
