"""Nexmark: an auction site's events, and the queries over them, each beside the same query in SQL.

`model.py` is what happens on the site, `generator.py` makes it up, always alike; the queries are in `passing.py`,
`joining.py`, `windowing.py` and `grouping.py`; `oracle.py` asks DuckDB over the same files.

The queries are those of https://github.com/nexmark/nexmark; where its SQL leaves a choice, among equal times or equal
prices, both sides here make the same one.
"""
