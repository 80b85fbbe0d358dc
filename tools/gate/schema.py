"""Write the schemas of the gate's documents: `python -m attnc.tools.gate.schema docs/ci`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from attnc.compiler.manifest import canonical_json
from attnc.compiler.staging import write_text
from attnc.tools.gate import baseline, budget, report


def schemas() -> dict[str, dict[str, Any]]:
    """By file name."""
    return {
        "gate-baseline.schema.json": baseline.json_schema(),
        "gate-budgets.schema.json": budget.json_schema(),
        "gate-report.schema.json": report.json_schema(),
    }


def main(arguments: list[str]) -> int:
    """Write them into the folder that is named."""
    for name, schema in schemas().items():
        write_text(Path(arguments[0]) / name, canonical_json(schema))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
