"""Every metric: its name, its kind, and a sentence.  What is not here is not shown, and a test holds the two together.

Names are those of Prometheus: ``relay_`` before, the base unit and for counters ``_total`` behind.  A process tells its
numbers on the control socket (``metrics``), and relay.operate.web.metrics puts them in words for Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from relay.message.histogram import Histogram

DESTINATIONS_SHOWN = 20
"""Each destination is a time series of its own in whoever keeps the numbers, and strangers choose their names."""

Sample = tuple[str, float]
Value = float | list[Sample] | dict[str, object]
"""A number; with a label, a list of label and number; of a histogram ``bounds``, ``counts`` and ``total``."""

Numbers = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Metric:
    """
    about  one sentence
    label  the name of its label, if it has one beside ``worker``
    whole  it is of the relay and not of a worker: all would say the same
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    label: str = ""
    whole: bool = False


def histogram(found: Histogram) -> dict[str, object]:
    """As a value that JSON can say."""
    return {"bounds": found.bounds, "counts": found.counts, "total": found.total}


STEPS: Mapping[str, Metric] = {
    "connected": Metric("relay_client_connections_total", "counter", "Connections of clients that were let in."),
    "encrypted": Metric("relay_client_tls_sessions_total", "counter", "Sessions of clients that went on within TLS."),
    "logged_in": Metric("relay_logins_total", "counter", "Logins of clients that succeeded."),
    "accepted": Metric("relay_messages_accepted_total", "counter", "Messages that were taken and are safely on disk."),
    "delivered": Metric(
        "relay_recipients_delivered_total", "counter", "Recipients whose mail the next hop has taken over."
    ),
    "deferred": Metric(
        "relay_recipients_deferred_total",
        "counter",
        "Attempts for a recipient that ended in trouble that may pass: it is tried again.",
    ),
    "failed": Metric(
        "relay_recipients_failed_total", "counter", "Recipients that a next hop or a rule refused for good."
    ),
    "expired": Metric(
        "relay_recipients_expired_total", "counter", "Recipients that were given up after retry.give_up_after."
    ),
    "warned": Metric("relay_recipients_warned_total", "counter", "Recipients whose sender was told of a delay."),
    "discarded": Metric("relay_recipients_discarded_total", "counter", "Recipients whose mail a route threw away."),
    "held": Metric(
        "relay_recipients_held_total", "counter", "Times that recipients were held by an operator or a rule."
    ),
    "released": Metric("relay_recipients_released_total", "counter", "Times that held recipients were released."),
    "removed": Metric("relay_recipients_removed_total", "counter", "Times that an operator removed recipients."),
    "reported": Metric("relay_reports_total", "counter", "Reports that were sent: to senders, and on TLS to domains."),
    "rested": Metric("relay_destination_rests_total", "counter", "Times that a destination began to rest."),
    "woken": Metric("relay_destination_wakes_total", "counter", "Times that the rest of a destination was over."),
    "unsecured": Metric(
        "relay_unsecured_hops_total", "counter", "Hops that were given mail without TLS; each once an hour at most."
    ),
    "unpoliced": Metric("relay_unpoliced_total", "counter", "Times that a domain's MTA-STS policy could not be had."),
    "set_aside": Metric("relay_set_aside_total", "counter", "Broken rows and files that were put out of the way."),
    "trouble": Metric("relay_troubles_total", "counter", "Troubles of our own; the log has the words."),
    "reloaded": Metric("relay_reloads_total", "counter", "Times that the configuration or a file was read again."),
}
"""Steps that are counted by their name alone."""

METRICS: tuple[Metric, ...] = (
    Metric("relay_build_info", "gauge", "The version that runs; always 1.", "version", whole=True),
    Metric("relay_worker_up", "gauge", "Whether a worker answers: 1, or 0 when it does not just now."),
    Metric("relay_start_time_seconds", "gauge", "When this worker was started, in seconds since the epoch."),
    Metric("relay_cpu_seconds_total", "counter", "Processor time that this worker has used."),
    Metric("relay_resident_memory_bytes", "gauge", "Memory that this worker has in use."),
    Metric("relay_open_fds", "gauge", "File descriptors that this worker has open."),
    Metric("relay_max_fds", "gauge", "File descriptors that this worker may have open."),
    # the queue
    Metric("relay_queue_messages", "gauge", "Messages in the queue."),
    Metric("relay_queue_bytes", "gauge", "Octets of all messages in the queue."),
    Metric("relay_queue_recipients", "gauge", "Recipients in the queue, by state: waiting, held or owing.", "state"),
    Metric("relay_queue_oldest_age_seconds", "gauge", "Age of the oldest message in the queue; 0 without one."),
    Metric("relay_queue_set_aside", "gauge", "Broken rows, files and databases that wait for an operator."),
    Metric("relay_spool_free_bytes", "gauge", "Room that is left on the disk of the spool.", whole=True),
    Metric("relay_spool_size_bytes", "gauge", "The size of the disk of the spool.", whole=True),
    Metric("relay_store_full", "gauge", "Whether new mail is refused for want of room on the disk: 1 or 0."),
    Metric("relay_store_trouble", "gauge", "Whether the queue cannot be written just now: 1 or 0."),
    Metric("relay_store_batch_size", "histogram", "Changes of the queue that went to disk together, with one sync."),
    Metric("relay_store_commit_seconds", "histogram", "How long it took until a batch of changes was safely on disk."),
    # the way in
    Metric("relay_sessions_open", "gauge", "Sessions of clients that are open."),
    Metric("relay_accepted_bytes_total", "counter", "Octets of the messages that were taken."),
    Metric("relay_accepted_recipients_total", "counter", "Recipients of the messages that were taken."),
    Metric(
        "relay_refusals_total",
        "counter",
        "What clients were refused, by the reply's code; without one, what they gave up themselves.",
        "code",
    ),
    Metric("relay_login_failures_total", "counter", "Logins of clients that were refused."),
    Metric("relay_client_tls_failures_total", "counter", "Handshakes of clients that failed."),
    # the way out
    Metric("relay_delivered_bytes_total", "counter", "Octets that were delivered, counted for each recipient."),
    Metric(
        "relay_delivery_delay_seconds",
        "histogram",
        "From the moment a message was taken until the next hop had it, for each recipient.",
    ),
    Metric("relay_connections_out", "gauge", "Connections to next hops that are open or being opened."),
    Metric("relay_tls_failures_total", "counter", "Handshakes with hops that did not do, by kind (RFC 8460).", "kind"),
    Metric("relay_hop_logins_refused", "gauge", "Next hops that refuse our login just now."),
    Metric("relay_destinations", "gauge", "Destinations that are remembered."),
    Metric("relay_destinations_resting", "gauge", "Destinations that rest after trouble, or as an operator wishes."),
    Metric(
        "relay_destination_waiting_recipients",
        "gauge",
        f"Recipients that wait for a destination; of the {DESTINATIONS_SHOWN} with most.",
        "destination",
    ),
    Metric("relay_destination_window", "gauge", "Attempts that may go there at once; 0 while it rests.", "destination"),
    Metric("relay_destination_in_flight", "gauge", "Attempts that are under way there.", "destination"),
    Metric("relay_destination_failures", "gauge", "Attempts in a row that found it in trouble.", "destination"),
    Metric("relay_dns_questions_total", "counter", "Questions that went to a name server."),
    Metric("relay_dns_failures_total", "counter", "Questions that no name server answered well."),
    Metric(
        "relay_certificate_expiry_time_seconds",
        "gauge",
        "When a certificate of ours runs out, in seconds since the epoch.",
        "certificate",
        whole=True,
    ),
    Metric("relay_webhook_events_total", "counter", "Events that a receiver has taken.", "webhook"),
    Metric("relay_webhook_failures_total", "counter", "Requests that a receiver did not take.", "webhook"),
    Metric("relay_webhook_dropped_total", "counter", "Events that a receiver will never be told of.", "webhook"),
    Metric("relay_webhook_behind", "gauge", "Entries of the journal that a receiver has yet to be told of.", "webhook"),
    *STEPS.values(),
)

BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}
