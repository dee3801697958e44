"""YAML with the place of every key and value, so that a fault can name its line.

Scalars are read as YAML 1.2 has them (its core schema): ``no``, ``on`` and ``22:30`` are text, and
only ``true`` and ``false`` are booleans.  A key given twice is a fault: taking the last one silently,
as PyYAML does, hides a mistake.  Nothing but plain data can come out: a tag is a fault.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands.

    file    the file's name as the operator gave it, or the name of a command-line option
    line    from 1; 0 when the source has no lines
    column  from 1
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """``relay.yaml:12``: what a verdict or a log line shows."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def exact(self) -> str:
        """``relay.yaml:12:5``: what an editor jumps to."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    path  the key concerned, ``listen[0].endpoint``; empty for the file as a whole
    what  what is wrong; what would be right
    """

    place: Place
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.place.exact}: {self.path}: {self.what}" if self.path else f"{self.place.exact}: {self.what}"


@dataclass(slots=True)
class Reading:
    """What a file says.

    keys    path -> where its key stands (for an item of a list: where the item stands)
    values  path -> where its value stands
    """

    data: Data
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def nearest(self, path: Path, places: Mapping[Path, Place]) -> Place | None:
        """The place of this path, or of the innermost thing around it that has one."""
        for end in range(len(path), -1, -1):
            if path[:end] in places:
                return places[path[:end]]
        return None


def dotted(path: Path) -> str:
    """``('listen', 0, 'endpoint')`` as ``listen[0].endpoint``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def path_in(folder: pathlib.Path, text: str) -> pathlib.Path:
    """A path of a configuration file: relative ones start at the folder of the file."""
    return (folder / pathlib.Path(text).expanduser()).absolute()


class _Yaml12(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2 (§10.3.2, core schema)."""


_Yaml12.yaml_implicit_resolvers = {}  # not those of YAML 1.1, which the base class has


_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
)
for _name, _pattern, _first in _CORE_SCHEMA:
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def read_yaml(text: str, file: str) -> Reading:
    """Parses a YAML file.

    A fault of syntax ends the reading, since nothing after it can be trusted; then ``data`` is None.
    All other faults are gathered.
    """
    reading = Reading(None)
    try:
        root = yaml.compose(text, Loader=_Yaml12)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        what = " ".join(part for part in (error.context, error.problem) if part)
        reading.faults.append(Fault(place, "", f"this is not YAML: {what}"))
    except yaml.YAMLError as error:  # an unprintable character; it has no mark
        reading.faults.append(Fault(Place(file), "", f"this is not YAML: {' '.join(str(error).split())}"))
    except RecursionError:
        reading.faults.append(Fault(Place(file), "", "this is not YAML: nested too deeply"))
    else:
        if root is not None:
            reading.data = _Construction(file, reading).value(root, ())
    return reading


class _Construction:
    """Makes plain data from the parser's nodes and writes down where each thing stood."""

    def __init__(self, file: str, reading: Reading) -> None:
        self._file = file
        self._reading = reading
        self._open: set[int] = set()  # the nodes we are within: an alias may name one of them

    def value(self, node: Node, path: Path) -> Data:
        self._reading.values[path] = self._place(node)
        self._reading.keys.setdefault(path, self._place(node))
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _COLLECTIONS:
            self._fault(node, path, f"the tag {node.tag} is not understood; write plain data, without a tag")
            return None
        if id(node) in self._open:
            self._fault(node, path, "this alias (*) names something it stands in; write the value out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Node, path: Path) -> Data:
        data: dict[str, Data] = {}
        for key, value_node in self._pairs(node, path):
            inner = (*path, key.value)
            if key.value in data:
                first = self._reading.keys[inner]
                self._fault(key, inner, f"given twice, first in line {first.line}; keep one of them")
                continue
            self._reading.keys[inner] = self._place(key)
            data[key.value] = self.value(value_node, inner)
        return data

    def _pairs(self, node: Node, path: Path) -> Iterator[tuple[ScalarNode, Node]]:
        if not isinstance(node, MappingNode):
            return
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                yield key, value
            else:
                self._fault(key, path, "a key must be plain text")

    def _scalar(self, node: ScalarNode, path: Path) -> Data:
        text: str = node.value
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if len(text) < 40:
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            case "float":
                return float(text)
            case "str":
                return text
            case "int":
                self._fault(node, path, "this number is too long; no key takes one of this size")
            case _:
                self._fault(node, path, f"the tag {node.tag} is not understood; write plain data, without a tag")
        return None

    def _place(self, node: Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _fault(self, node: Node, path: Path, what: str) -> None:
        self._reading.faults.append(Fault(self._place(node), dotted(path), what))
