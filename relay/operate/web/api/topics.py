"""All that the API has, in the order of its description."""

from __future__ import annotations

from relay.operate.web.api.destinations import DESTINATIONS
from relay.operate.web.api.journeys import JOURNEYS
from relay.operate.web.api.messages import MESSAGES
from relay.operate.web.api.operation import Topic
from relay.operate.web.api.overview import OVERVIEW
from relay.operate.web.api.queue import QUEUE
from relay.operate.web.api.webhooks import WEBHOOKS

TOPICS: tuple[Topic, ...] = (OVERVIEW, MESSAGES, QUEUE, DESTINATIONS, JOURNEYS, WEBHOOKS)
