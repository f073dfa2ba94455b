"""The only room with tasks, queues, cancellation and threads."""
