"""The checkpoint protocol: facts in, decisions out."""
