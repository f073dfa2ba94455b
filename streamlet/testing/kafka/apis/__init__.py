"""What each request does to the simulated broker, and how its answer is written."""
