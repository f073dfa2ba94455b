"""The public test kit. Nothing in the engine imports it."""
