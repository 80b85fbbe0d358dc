"""The regression gate: budgets, what is measured for them, verdicts, and how they are told."""
