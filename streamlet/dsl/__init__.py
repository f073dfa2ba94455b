"""What a user writes: builds a JobGraph and runs nothing."""
