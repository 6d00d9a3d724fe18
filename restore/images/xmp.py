"""XMP: reset the orientation and take out the place, keep the rest.

Everything whose name speaks of a position goes (GPS..., ...latitude, longitude, altitude, in any namespace: drones
write their own). A packet that cannot be read as XML is not kept, because nothing could be promised about it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_TIFF = "http://ns.adobe.com/tiff/1.0/"
_PLACE = re.compile(r"gps|latitude|longitude|altitude", re.IGNORECASE)
_OPEN = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_CLOSE = b'\n<?xpacket end="w"?>'
_PREFIX = re.compile(rb'xmlns:([A-Za-z_][\w.-]*)\s*=\s*["\']([^"\']+)["\']')


class XmpError(ValueError):
    """The packet cannot be read."""


def cleaned(packet: bytes, keep_gps: bool) -> bytes:
    """The packet for a restored, upright picture.

    Raises:
        XmpError: not well-formed, not UTF-8, or with a document type (XMP has none, and entities can explode).
    """
    packet = packet.strip(b"\0 \r\n\t")
    try:
        text = packet.decode("utf-8")
    except UnicodeDecodeError as error:
        raise XmpError("the packet is not UTF-8") from error
    if "\0" in text or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise XmpError("the packet is not UTF-8, or has a document type")
    if "Orientation" not in text and (keep_gps or not _PLACE.search(text)):
        return packet
    try:
        root = ET.fromstring(text.removeprefix("\ufeff"))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise XmpError(str(error)) from error
    _clean(root, keep_gps)
    return _OPEN + _with_prefixes(ET.tostring(root, encoding="unicode").encode(), packet) + _CLOSE


def _clean(node: ET.Element, keep_gps: bool) -> None:
    orientation = f"{{{_TIFF}}}Orientation"
    for key in list(node.attrib):
        if key == orientation:
            node.set(key, "1")
        elif not keep_gps and _PLACE.search(_local(key)):
            del node.attrib[key]
    for child in list(node):
        if child.tag == orientation:
            child.text = "1"
        elif not keep_gps and _PLACE.search(_local(child.tag)):
            node.remove(child)
            continue
        _clean(child, keep_gps)


def _local(name: object) -> str:
    return str(name).rpartition("}")[2]


def _with_prefixes(text: bytes, packet: bytes) -> bytes:
    """Give the namespaces the prefixes they had (some readers look for "xmp:", though XML does not ask for it)."""
    wanted = {uri: prefix for prefix, uri in _PREFIX.findall(packet)}
    for made, uri in _PREFIX.findall(text):
        prefix = wanted.get(uri)
        if prefix and re.fullmatch(rb"ns\d+", made) and b"xmlns:" + prefix + b"=" not in text:
            text = re.sub(rb"(?<=[<\s/])" + made + rb":", prefix + b":", text)
            text = text.replace(b"xmlns:" + made + b"=", b"xmlns:" + prefix + b"=")
    return text
