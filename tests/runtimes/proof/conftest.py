"""Helpers of this folder (faulty_*.py) are importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
