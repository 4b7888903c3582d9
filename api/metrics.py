"""What Prometheus is told."""

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LAG = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 60.0, 600.0)

PINGS = Counter("pingpulse_pings", "Pings by kind of what they are about and outcome.", ["kind", "outcome"])
ACK_LATENCY = Histogram("pingpulse_ack_seconds", "From receiving a ping to its answer.", buckets=_FAST)
BATCH_SIZE = Histogram(
    "pingpulse_journal_batch_pings", "Pings that shared a commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
VERDICT_LATENCY = Histogram("pingpulse_verdict_seconds", "From journaling a strict ping to its verdict.", buckets=_FAST)
SIGNALS = Counter("pingpulse_signals", "Signals and updates sent to Temporal.", ["kind"])
PINGS_PER_SIGNAL = Histogram(
    "pingpulse_pings_per_signal", "Pings that travelled together.", buckets=(1, 2, 5, 10, 50, 100, 500)
)
DELIVERY_LAG = Histogram(
    "pingpulse_delivery_lag_seconds", "From receiving the oldest ping of a signal to Temporal having it.", buckets=_LAG
)
DELIVERY_FAILURES = Counter("pingpulse_delivery_failures", "Calls to Temporal that had to be repeated.")
OUTBOX_DEPTH = Gauge("pingpulse_outbox_pings", "Journaled pings that Temporal does not have yet.")
OUTBOX_AGE = Gauge("pingpulse_outbox_age_seconds", "Age of the oldest of them.")
ALERTS_OVERDUE = Gauge("pingpulse_alerts_overdue", "Alerts that should be on their way by now: no worker tells people.")
MESSAGES_PENDING = Gauge("pingpulse_messages_pending", "Messages on their way, or to be tried again.")
MESSAGES_FAILED = Gauge("pingpulse_messages_failed", "Messages that were given up in the last day.")
