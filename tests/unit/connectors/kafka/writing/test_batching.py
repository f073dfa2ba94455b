"""A sealed batch carries its producer's identity, and its records survive every compression."""

from __future__ import annotations

import pytest

from streamlet_connectors.kafka.protocol.unpacking import record_batches
from streamlet_connectors.kafka.writing.batching import COMPRESSIONS, compress, new_builder, seal


def records(data: bytes | bytearray) -> list[tuple[bytes | None, bytes | None]]:
    out = []
    for batch in record_batches(bytes(data)):
        batch.require_checksum()
        out += [(record.key, record.value) for record in batch.records()]
    return out


def sealed(compression: str | None, *, is_transactional: bool = True, value: bytes = b"v" * 100) -> bytearray:
    builder = new_builder(100_000, is_transactional=is_transactional)
    for offset in range(50):
        builder.append(offset, 1_700_000_000_000, b"key", value, [])
    return seal(builder, 4711, 3, 17, compression, is_transactional=is_transactional)


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_what_was_written_is_read_back(compression: str | None) -> None:
    assert records(sealed(compression)) == [(b"key", b"v" * 100)] * 50


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_compressed_batch_is_smaller(compression: str) -> None:
    assert len(sealed(compression)) < len(sealed(None)) / 2


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_batch_that_does_not_shrink_is_left_as_it_is(compression: str) -> None:
    builder = new_builder(100, is_transactional=True)
    builder.append(0, 0, None, b"x", [])
    data = builder.build()
    assert compress(data, compression) == data


@pytest.mark.parametrize("is_transactional", [True, False])
def test_the_header_says_whose_batch_it_is(is_transactional: bool) -> None:
    (whole,) = record_batches(bytes(sealed("zstd", is_transactional=is_transactional)))
    batch = whole.head
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (4711, 3, 17)
    assert batch.is_transactional == is_transactional


def test_a_batch_that_was_opened_for_no_transaction_is_not_sealed_into_one() -> None:
    builder = new_builder(100_000, is_transactional=False)
    builder.append(0, 0, None, b"v", [])
    with pytest.raises(AssertionError):
        seal(builder, 1, 0, 0, None, is_transactional=True)
