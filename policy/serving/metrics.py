"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
KINDS = ("unauthorised", "oversized", "malformed", "observation", "policy", "internal")
"""Of errors: no token; a message too large, or not msgpack; an observation that was refused; a policy that failed."""
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Of one server; a registry of its own, so that two in one process do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("recap_serve_requests", "Requests answered with actions.", registry=self._registry)
        self.errors = Counter("recap_serve_errors", "Errors told to a client.", ["kind"], registry=self._registry)
        self.clients = Gauge("recap_serve_clients", "Clients connected.", registry=self._registry)
        self.batch = Histogram(
            "recap_serve_batch_size",
            "Requests per forward pass.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self.inference = Histogram(
            "recap_serve_inference_seconds", "Of a forward pass.", buckets=_SECONDS, registry=self._registry
        )
        self.latency = Histogram(
            "recap_serve_latency_seconds", "From a request to its reply.", buckets=_SECONDS, registry=self._registry
        )
        # Each is there from the start: an alarm on a rate needs the zero before the first.
        for kind in KINDS:
            self.errors.labels(kind)

    def text(self) -> str:
        """All figures, in Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def totals(self) -> tuple[int, int]:
        """Requests answered with actions, and errors of every kind."""
        errors = [self._figure("recap_serve_errors_total", kind=kind) for kind in KINDS]
        return self._figure("recap_serve_requests_total"), sum(errors)

    def _figure(self, name: str, **labels: str) -> int:
        return int(self._registry.get_sample_value(name, labels) or 0)
