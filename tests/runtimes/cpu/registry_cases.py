"""The hard inputs that the operators declare for themselves, with their own references."""

from __future__ import annotations

from kernel_cases import Case

from attnc.compiler.ops import registry


def registry_cases(rng) -> dict[str, Case]:
    """One case per example of each lowered operator."""
    cases = {}
    for operator in registry.LOWERED:
        residuals = operator.inputs.count("r")
        for example in operator.examples(rng):
            x, *rest = example.inputs
            split = len(rest) - residuals
            expected = operator.reference(*example.inputs, **example.attributes)
            cases[f"{operator.name}-{example.label}"] = Case(
                operator.name, x, rest[:split], dict(example.attributes), expected, rest[split:]
            )
    return cases
