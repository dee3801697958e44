"""A store-and-forward mail relay (MTA): receive, queue, schedule, route, deliver, bounce."""

__version__ = "0.1.0"
