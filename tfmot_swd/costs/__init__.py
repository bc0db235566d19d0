"""What a model costs, and budgets of it."""
