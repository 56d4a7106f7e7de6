"""The XSLT files, as text for the provider; values go into their variables as a tree, never as text."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

_XSL = "http://www.w3.org/1999/XSL/Transform"
_FOLDER = Path(__file__).parent


@cache
def _source(name: str) -> str:
    return (_FOLDER / f"{name}.xsl").read_text()


def stylesheet(name: str, **variables: str) -> str:
    """`<name>.xsl` with its variables set. Raises KeyError unless exactly its variables are given."""
    ElementTree.register_namespace("xsl", _XSL)
    ElementTree.register_namespace("halab", "urn:halab:owner")
    root = ElementTree.fromstring(_source(name))
    found = {str(element.get("name")): element for element in root.findall(f"{{{_XSL}}}variable")}
    if found.keys() != variables.keys():
        raise KeyError(
            f"{name}.xsl has the variables {', '.join(sorted(found))}; given: {', '.join(sorted(variables))}"
        )
    for key, value in variables.items():
        found[key].text = value
    return ElementTree.tostring(root, encoding="unicode")
