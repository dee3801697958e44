"""YAML with places: what is read, and where it stood."""

from __future__ import annotations

import pytest

from relay.operate.places import Place, dotted, read_yaml


def test_each_key_and_value_has_its_place() -> None:
    reading = read_yaml("hostname: mx.example.org\nlisten:\n  - endpoint: tcp:25\n", "relay.yaml")
    assert reading.faults == []
    assert reading.keys["listen", 0, "endpoint"] == Place("relay.yaml", 3, 5)
    assert reading.values["listen", 0, "endpoint"] == Place("relay.yaml", 3, 15)
    assert str(reading.values["hostname",]) == "relay.yaml:1"
    assert reading.values["hostname",].exact == "relay.yaml:1:11"


@pytest.mark.parametrize("text", ["no", "yes", "on", "off", "22:30", "1_000", "0b11", "2026-11-23", "=", "<<"])
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text: str) -> None:
    """YAML 1.2 §10.3: a host called "no" is not the boolean false (the "Norway problem")."""
    assert read_yaml(f"key: {text}", "f").data == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("~", None), ("", None), ("0o17", 15), ("010", 10), ("-3", -3), ("1.5", 1.5)],
)
def test_the_core_schema_is_read(text: str, value: object) -> None:
    assert read_yaml(f"key: {text}", "f").data == {"key": value}


def test_a_key_given_twice_is_a_fault_with_both_places() -> None:
    """PyYAML takes the last one and says nothing."""
    reading = read_yaml("a: 1\nb: 2\na: 3\n", "f")
    assert [str(fault) for fault in reading.faults] == ["f:3:1: a: given twice, first in line 1; keep one of them"]


def test_bad_syntax_names_the_place() -> None:
    (fault,) = read_yaml("a: [1, 2\nb: 3\n", "f").faults
    assert fault.place.line == 2
    assert "not YAML" in fault.what


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [ls]",
        "a: !thing x",
        "a: &x [*x]",
        "? [1, 2]\n: x",
        "a: " + "9" * 5000,
        "a: " + "[" * 1200,
        "a: \x01",
        "\ta: b",
    ],
)
def test_what_is_no_plain_data_is_a_fault_and_no_crash(text: str) -> None:
    assert read_yaml(text, "f").faults


def test_aliases_are_followed() -> None:
    reading = read_yaml("a: &here [x]\nb: *here\n", "f")
    assert reading.data == {"a": ["x"], "b": ["x"]}
    assert reading.faults == []


def test_a_path_is_written_as_people_write_it() -> None:
    assert dotted(("listen", 0, "endpoint")) == "listen[0].endpoint"
    assert dotted(()) == ""
