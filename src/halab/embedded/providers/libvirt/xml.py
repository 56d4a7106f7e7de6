"""XML elements, and the `xml.xslt` input: a stylesheet over the XML about to be defined (libxslt, as xsltproc)."""

from __future__ import annotations

from lxml import etree

from halab.embedded.provider import Props, ProviderError

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True)


_CONFINED = etree.XSLTAccessControl.DENY_ALL  # type: ignore[attr-defined]


def node(tag: str, /, *children: etree._Element | str, **attributes: str) -> etree._Element:
    """An element with attributes, child elements and, at most one, text."""
    element = etree.Element(tag, attributes)
    for child in children:
        if isinstance(child, str):
            element.text = child
        else:
            element.append(child)
    return element


def render(tree: etree._Element, inputs: Props) -> str:
    """The document's text, transformed by inputs["xml"]["xslt"] if there is one. Raises ProviderError on a bad one."""
    stylesheet = (inputs.get("xml") or {}).get("xslt", "").strip()
    if not stylesheet:
        return etree.tostring(tree, pretty_print=True, encoding="unicode")
    try:
        transform = etree.XSLT(etree.fromstring(stylesheet.encode(), _PARSER), access_control=_CONFINED)
        result = transform(tree)
    except (etree.XMLSyntaxError, etree.XSLTError) as error:
        raise ProviderError(f"{inputs.get('name')}: xml.xslt: {error}") from error
    if result.getroot() is None:
        raise ProviderError(f"{inputs.get('name')}: xml.xslt leaves no element")
    return str(result)
