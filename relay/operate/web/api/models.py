"""What all questions and answers of the API have in common, and what more than one of them uses.

Times are seconds since the epoch, sizes are octets; names are those of the log (relay.message.step).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def like(pattern: str, otherwise: str) -> AfterValidator:
    """For an annotation: the whole text must be like this; else ``otherwise`` is said, with what would be right."""
    known = re.compile(pattern)

    def look(text: str) -> str:
        if known.fullmatch(text) is None:
            raise ValueError(otherwise)
        return text

    return AfterValidator(look)


Text = Annotated[str, Field(min_length=1, max_length=1000)]
At = Annotated[float, Field(description="Seconds since the epoch.")]
MaybeAt = Annotated[float | None, Field(description="Seconds since the epoch.")]
State = Literal["waiting", "held", "owing"]


class Asked(BaseModel):
    """A question: what is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(BaseModel):
    """An answer.  More fields may come in later versions."""

    model_config = ConfigDict(extra="forbid")


class Problem(Told):
    """What went wrong (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str = Field(description="A sentence that says what would be right.")
    errors: list[Fault] = Field(default=[], description="Several things that are wrong.")
    reply: str = Field(default="", description="Of a message that was not taken: the reply that decided.")
    recipients: list[Any] = Field(default=[], description="Of a message that was not taken: each one's reply.")


class Fault(Told):
    """One thing that is wrong."""

    where: str = Field(description="The field: `query.limit`, `body.ids`.")
    what: str


class Changed(Told):
    """How much was changed."""

    changed: int = Field(description="Recipients that were changed.")
    destinations: Sequence[str] | None = Field(
        default=None, description="Where a destination was named: which were meant. A host may be that of several."
    )


class Destination(Told):
    """A next hop, or the domain whose mail hosts are asked for.  What is not at work has only the first three."""

    destination: str = Field(description="Its name, as `relay status` shows it.")
    waiting: int = Field(description="Recipients that wait for it.")
    in_flight: int = Field(description="Attempts that are under way there.")
    window: int | None = Field(default=None, description="Attempts that may go there at once; 0 while it rests.")
    resting_until: MaybeAt = None
    failures: int | None = Field(default=None, description="Attempts in a row that found it in trouble.")
    error: str | None = Field(default=None, description="The last trouble, in words; empty when it does well.")
