"""What is remembered: typed handles over one keyed store."""
