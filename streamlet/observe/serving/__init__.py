"""What a running job serves over HTTP with `--http`: metrics, probes and its status; read-only, off by default.

```text
GET /metrics   every metric of `streamlet help metrics`, for Prometheus
GET /healthz   200 while the event loop turns; 503 with the line that holds it
GET /readyz    200 while the job runs, reaches the outside and completes checkpoints; 503 with the reason
GET /status    the same facts as JSON
```

The server runs in a thread of its own, so that it answers while a function of the job blocks.  It listens on loopback
addresses only, unless `--http-token-file` names a file with a token, which requests then carry as `Authorization:
Bearer TOKEN`; the two probes are answered without it, but give no reason then.  A `Host` that is not this machine, and
an `Origin` of another site, are refused: a web page that is open on this machine must not read the job.

`address` (where to listen, for whom) -> `guard` (who is refused) -> `app` (the routes) -> `server` (the thread);
`exposition` writes the metrics.  The packages of `streamlet[http]` are imported only here, and only when it is on.

May import: contracts, observe
"""
