"""Kafka's protocol: requests, answers, error codes, connections.

`wire` (the only module that touches aiokafka) <- `requests`, `fetch_api`, `offsets` (one function per request) <-
`client` (the broker for a request, one socket each). `options` says how to reach a cluster, `codes` and `errors` what
an answer means, `greeting` why none comes, `unpacking` finds record batches in bytes.

May import: contracts
"""
