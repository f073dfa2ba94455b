"""JobGraph, its validation, and the ExecutionPlan: pure data."""
