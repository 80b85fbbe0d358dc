"""The placement lint: which operations public sources say the Neural Engine runs badly or not.

Core ML alone decides where an operation runs; what is found here is a question, not a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from attnc.runtimes.coreml.graph import Graph, is_constant
from attnc.runtimes.coreml.origins import origin_of
from attnc.runtimes.coreml.package import Package
from attnc.runtimes.coreml.placement_rules import RULES
from attnc.runtimes.coreml.summary import find_function


@dataclass(frozen=True)
class Finding:
    """A rule that an operation breaks; `detail` says by how much."""

    rule: str
    operation: str
    kind: str
    module: str
    source: str
    detail: str

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def lint(package: Package, origins: Mapping[str, Any], function: str = "main") -> list[Finding]:
    """What the rules find in one function, in its order; UsageError where the package lacks it."""
    graph = Graph(find_function(package, function))
    return [
        Finding(rule.name, operation.name, operation.type, *origin_of(operation, origins), detail)
        for operation in graph.operations
        if not is_constant(operation)
        for rule in RULES
        for detail in rule.check(operation, graph)
    ]


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Findings by rule, in the order of the rules; rules without any are left out."""
    found = Counter(finding.rule for finding in findings)
    return {rule.name: found[rule.name] for rule in RULES if found[rule.name]}
