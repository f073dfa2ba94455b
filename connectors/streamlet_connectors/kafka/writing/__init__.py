"""KafkaSink: transactions whose fate the checkpoint decides.

Batches enter `writer` -> `routing` (key bytes, partition), `extras` (headers, time) -> `batching` -> `delivery` inside
of a `transaction` from the `transaction_pool`; after the checkpoint `committer` settles prepared transactions by
`outcome` and `coordination`.
`sink` and `spec` are what the user declares, `refusals` what a broker would not take.

May import: contracts, kafka.protocol
"""
