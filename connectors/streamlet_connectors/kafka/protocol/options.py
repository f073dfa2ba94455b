"""How to reach a Kafka cluster: the options that the source and the sink share."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from streamlet.connect import ConfigError
from streamlet_connectors.kafka.protocol import wire

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
_SECRET = ("password", "token", "context")
_DEFAULT_PORT = 9092


class KafkaOptions(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Everything needed to connect. Its repr shows no secret; `of` checks what a user wrote."""

    servers: tuple[tuple[str, int], ...]
    client_id: str = "streamlet"
    security_protocol: str = "PLAINTEXT"
    ssl_context: Any = None
    """An `ssl.SSLContext`, instead of the three files."""
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = None
    sasl_mechanism: str = "PLAIN"
    sasl_plain_username: str | None = None
    sasl_plain_password: str | None = None
    sasl_kerberos_service_name: str = "kafka"
    sasl_kerberos_domain_name: str | None = None
    sasl_oauth_token_provider: Any = None
    """An `aiokafka.abc.AbstractTokenProvider`."""
    request_timeout_seconds: float = 15.0
    """How long one request may wait for its answer before its connection is given up."""
    connect_timeout_seconds: float = 30.0
    """How long to try before a cluster counts as unreachable."""
    topic_timeout_seconds: float = 60.0
    """How long a topic may be missing while the job runs, or a partition without a leader. At the start a topic that
    the brokers do not know ends the job after 5 s, or after this if it is shorter."""
    max_answer_bytes: int = 256 << 20
    """The largest answer that is taken from a broker. One of a fetch is as large as `request_bytes`, or as one record
    batch if that is larger."""

    @classmethod
    def of(cls, bootstrap: str | Sequence[str], options: Mapping[str, Any], *, where: str) -> KafkaOptions:
        """Builds the options; `where` names the source or sink in errors. Raises `ConfigError`."""
        known = [name for name in cls.__struct_fields__ if name != "servers"]
        for name in options:
            if name not in known:
                raise ConfigError(f"{where}: there is no option {name!r}", remedy=_suggest(name, known))
        _require_types(cls, options, where)
        result = cls(servers=_servers(bootstrap, where), **options)
        for problem, remedy in _problems(result):
            raise ConfigError(f"{where}: {problem}", remedy=remedy)
        return result

    @property
    def bootstrap(self) -> str:
        """The addresses as one string: no secrets."""
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers)

    def socket_options(self) -> dict[str, Any]:
        """What a socket needs beyond its address. Reads the certificate files."""
        options = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name.startswith("sasl_") or name == "security_protocol"
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self.ssl_context or self._create_ssl_context()
        return options

    def _create_ssl_context(self) -> Any:
        try:
            return wire.create_ssl_context(
                cafile=self.ssl_cafile, certfile=self.ssl_certfile, keyfile=self.ssl_keyfile, password=self.ssl_password
            )
        except OSError as error:
            files = ", ".join(filter(None, (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)))
            raise ConfigError(
                f"the TLS files cannot be used ({files}): {error}",
                remedy="check ssl_cafile, ssl_certfile and ssl_keyfile: PEM files that this user may read",
            ) from error

    def __repr__(self) -> str:
        defaults = dict(zip(reversed(self.__struct_fields__), reversed(self.__struct_defaults__), strict=False))
        shown = [f"servers={self.bootstrap!r}"]
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name != "servers" and value != defaults.get(name):
                shown.append(f"{name}={'***' if any(word in name for word in _SECRET) else repr(value)}")
        return f"KafkaOptions({', '.join(shown)})"


def _suggest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"the options are: {', '.join(known)}"


def _servers(bootstrap: str | Sequence[str], where: str) -> tuple[tuple[str, int], ...]:
    if not isinstance(bootstrap, str | Sequence):
        bootstrap = [bootstrap]
    entries = bootstrap.split(",") if isinstance(bootstrap, str) else list(bootstrap)
    remedy = "write host:port, several separated by commas, e.g. 'localhost:9092'"
    servers = []
    for entry in entries:
        if not isinstance(entry, str):
            raise ConfigError(f"{where}: {entry!r} is not the address of a Kafka broker", remedy=remedy)
        host, colon, port = entry.strip().rpartition(":")
        if not colon or "]" in port:
            host, port = entry.strip(), str(_DEFAULT_PORT)
        host = host.removeprefix("[").removesuffix("]")
        if (
            not host
            or not port.isascii()
            or not port.isdigit()
            or len(port) > 5
            or not 0 < int(port) < 65536
            or "/" in host
        ):
            raise ConfigError(f"{where}: {entry!r} is not the address of a Kafka broker", remedy=remedy)
        servers.append((host, int(port)))
    if not servers:
        raise ConfigError(f"{where}: no Kafka broker is named", remedy=remedy)
    return tuple(servers)


def _require_types(of: type[KafkaOptions], options: Mapping[str, Any], where: str) -> None:
    """Checks what was given before anything compares it; a wrong value is not shown, for it may be a secret."""
    for field in msgspec.structs.fields(of):
        if field.name not in options:
            continue
        try:
            value = msgspec.convert(options[field.name], field.type, strict=True)
            if isinstance(value, float) and not math.isfinite(value):
                raise msgspec.ValidationError("it is not finite")
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}: {field.name}: {error}", remedy="leave it out for the default") from None


_Check = tuple[Callable[[KafkaOptions], bool], str, str]

_CHECKS: tuple[_Check, ...] = (
    (
        lambda o: o.security_protocol not in PROTOCOLS,
        "unknown security_protocol",
        f"choose one of {', '.join(PROTOCOLS)}",
    ),
    (
        lambda o: o.sasl_mechanism not in MECHANISMS,
        "unknown sasl_mechanism",
        f"choose one of {', '.join(MECHANISMS)}",
    ),
    (
        lambda o: (
            not o.security_protocol.startswith("SASL")
            and bool(o.sasl_plain_username or o.sasl_plain_password or o.sasl_oauth_token_provider)
        ),
        "SASL options are given, but the security protocol has no SASL",
        "set security_protocol='SASL_SSL' (or 'SASL_PLAINTEXT')",
    ),
    (
        lambda o: (
            not o.security_protocol.endswith("SSL")
            and bool(o.ssl_context or o.ssl_cafile or o.ssl_certfile or o.ssl_keyfile)
        ),
        "TLS options are given, but the security protocol has no TLS",
        "set security_protocol='SSL' (or 'SASL_SSL')",
    ),
    (
        lambda o: (
            o.security_protocol.startswith("SASL")
            and (o.sasl_mechanism == "PLAIN" or o.sasl_mechanism.startswith("SCRAM"))
            and (o.sasl_plain_username is None or o.sasl_plain_password is None)
        ),
        "the SASL mechanism needs a user name and a password",
        "give sasl_plain_username and sasl_plain_password",
    ),
    (
        lambda o: (
            o.security_protocol.startswith("SASL")
            and o.sasl_mechanism == "OAUTHBEARER"
            and o.sasl_oauth_token_provider is None
        ),
        "OAUTHBEARER needs a token provider",
        "give sasl_oauth_token_provider (an aiokafka.abc.AbstractTokenProvider)",
    ),
    (
        lambda o: (
            min(o.request_timeout_seconds, o.connect_timeout_seconds, o.topic_timeout_seconds, o.max_answer_bytes) <= 0
        ),
        "a time-out must be more than 0 seconds, and max_answer_bytes more than 0",
        "leave it out for the default",
    ),
)


def _problems(options: KafkaOptions) -> list[tuple[str, str]]:
    return [(problem, remedy) for is_wrong, problem, remedy in _CHECKS if is_wrong(options)]
