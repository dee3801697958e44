"""What the control socket can be asked of the configuration: as it is in force, and the file as it is now."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass

from relay.operate.config import Config, ConfigFaults
from relay.operate.control import Command, Request, Row
from relay.operate.places import Fault
from relay.operate.settings import Settings
from relay.operate.shown import shown
from relay.receive.watched import InThread

Found = tuple[Config | None, Sequence[Fault]]


@dataclass(frozen=True, slots=True)
class ConfigurationAnswers:
    """Answers what is in force, and what a reload would say.

    config     as it is in force
    load       reads the file again; raises ConfigFaults; None: there is no file, and nothing to reload
    in_thread  runs the reading aside
    """

    config: Callable[[], Config]
    load: Callable[[], Config] | None
    in_thread: InThread

    def by_name(self) -> Mapping[str, Command]:
        """For the control socket."""
        return {"config": self.configuration}

    async def configuration(self, request: Request) -> AsyncGenerator[Row, None]:
        """One row:

        source    the file, or that it is built in
        settings  every key with its value, defaults too; secrets are in files of their own and never shown
        places    key -> ``file:line``, for those that the file or the command line names
        warnings  what is allowed and probably not meant
        faults    what is wrong with the file as it is now; a reload would change nothing
        reload    keys that the file has other values for, which a reload takes
        restart   likewise, and only a restart takes them
        """
        request.no_more()
        config = self.config().whole
        found: Found = (None, ())
        if self.load is not None:
            found = await self.in_thread(self._read)
        newer, faults = found
        restart = config.needs_restart(newer) if newer is not None else ()
        yield {
            "source": config.source,
            "settings": shown(config),
            "places": config.places,
            "warnings": [row_of(warning) for warning in config.warnings],
            "faults": [row_of(fault) for fault in faults],
            "reload": _differing(config, newer.keeping(config)) if newer is not None else [],
            "restart": restart,
        }

    def _read(self) -> Found:
        assert self.load is not None
        try:
            return self.load().whole, ()
        except ConfigFaults as faults:
            return None, faults.faults


def row_of(fault: Fault) -> Row:
    """A fault or warning."""
    return {"place": fault.place.exact, "key": fault.path, "what": fault.what}


def _differing(config: Config, newer: Config) -> list[str]:
    """Keys of the top whose values differ."""
    return [name for name in Settings.model_fields if getattr(config, name) != getattr(newer, name)]
