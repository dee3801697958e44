"""The documents are true where a machine can tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_rfc_cited_in_the_code_is_in_the_table() -> None:
    listed = dict(
        re.findall(r"^\| *(\d{3,5})\b[^|]*\| *(yes|partial|no)\b", (ROOT / "docs/rfc.md").read_text("utf-8"), re.M)
    )
    for source in (ROOT / "relay").rglob("*.py"):
        for number in re.findall(r"\bRFC (\d{3,5})\b", source.read_text("utf-8")):
            assert number in listed, f"RFC {number}, cited in {source.relative_to(ROOT)}, is not in docs/rfc.md"
            assert listed[number] != "no", (
                f"docs/rfc.md says no to RFC {number}, but {source.relative_to(ROOT)} cites it"
            )


def test_every_document_stands_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    for document in (ROOT / "docs").glob("*.md"):
        assert document.name == "README.md" or f"({document.name})" in index, document.name


QUOTED = {"embedding.md": "examples/desk.py", "testing.md": "tests/testing/test_examples.py"}


@pytest.mark.parametrize(("document", "source"), QUOTED.items())
def test_code_in_a_document_is_code_that_runs(document: str, source: str) -> None:
    """Quoted word for word from what a test runs."""
    code = (ROOT / source).read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / document).read_text("utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        assert block in code, f"{document} quotes what is not in {source}:\n{block}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_heading_that_a_document_links_to_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    found = re.findall(r"^#+ (.*)$", text, re.M)
    headings = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in found}
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in headings, f"{document.name} links to #{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    named = re.findall(r"`((?:relay|tests|docs|etc|twisted|bench)/[\w./-]*)`", text)
    named += re.findall(r"\]\(([\w./-]+)\)", text)
    for name in named:
        # What users say is `relay/…` from the root; links are from the document.
        assert (ROOT / name).exists() or (document.parent / name).exists(), f"{document.name} names {name}"
