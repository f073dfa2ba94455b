"""What happens to a batch: synchronous, no I/O."""
