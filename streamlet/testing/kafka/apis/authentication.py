"""SaslHandshake, SaslAuthenticate: as a listener without SASL answers, which this broker's is."""

from __future__ import annotations

from streamlet.testing.kafka.apis.call import Api, Call
from streamlet.testing.kafka.apis.wire import Answer
from streamlet.testing.kafka.model import codes


def sasl_handshake(call: Call) -> Answer:
    return {"error_code": codes.ILLEGAL_SASL_STATE, "mechanisms": []}


def sasl_authenticate(call: Call) -> Answer:
    text = "SaslAuthenticate request received after successful authentication"
    return {"error_code": codes.ILLEGAL_SASL_STATE, "error_message": text, "auth_bytes": b""}


APIS = (
    Api(17, "SaslHandshake", 0, 1, sasl_handshake),
    Api(36, "SaslAuthenticate", 0, 2, sasl_authenticate),
)
