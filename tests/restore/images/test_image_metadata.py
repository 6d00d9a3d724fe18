"""EXIF and XMP: everything stays but the place, the orientation and the stale thumbnail."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from restore.images import codec, decode, encode
from restore.images import exif as exif_block
from restore.images import xmp as xmp_packet
from restore.images.raster import Raster

PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:drone="http://www.dji.com/drone-dji/1.0/" '
    'exif:GPSLatitude="52,30.5N" tiff:Orientation="6" xmp:Rating="4" drone:RelativeAltitude="12.5">'
    "<exif:GPSLongitude>13,24E</exif:GPSLongitude><xmp:CreatorTool>A &amp; B</xmp:CreatorTool>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def carrying(kind: str, samples: np.ndarray, exif: bytes, packet: bytes = PACKET) -> bytes:
    return codec.write(Raster(samples, "rgb", exif=exif, xmp=packet), kind, quality=None, lossless=True)


def facts_in(file: bytes) -> tuple[dict[int, object], dict[int, object], dict[int, object]]:
    """(first directory, EXIF directory, GPS directory) as Pillow reads them."""
    with Image.open(io.BytesIO(file)) as image:
        block = image.getexif()
        return dict(block), dict(block.get_ifd(0x8769)), dict(block.get_ifd(0x8825))


@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "tiff", "avif"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_everything_but_the_place_is_kept(photo, exif, kind, target):
    picture = decode(carrying(kind, photo(3), exif))
    file = encode(picture, picture.image, format=target)
    first, inner, place = facts_in(file)
    assert first[0x010F] == "ACME" and first[0x0110] == "Model 1" and first[0x8298] == "Somebody"
    assert first.get(0x0112, 1) == 1
    assert float(inner[0x829A]) == pytest.approx(1 / 320)
    assert inner[0x927C] == b"MAKERNOTE\x01\x02\x03" * 9
    assert (inner[0xA002], inner[0xA003]) == (picture.width, picture.height)
    if target != "avif":  # written through libexif there, which knows no private tags
        assert inner[0xFDE8] == "private"
    assert place == {} and 0x8825 not in first
    again = decode(file)
    assert again.xmp is not None and b"Rating" in again.xmp and b"A &amp; B" in again.xmp
    assert b"52,30.5N" not in file and b"13,24E" not in file and b"12.5" not in again.xmp
    assert struct.pack(">II", 1234567, 100000) not in file and struct.pack("<II", 1234567, 100000) not in file


@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "tiff", "avif"])
def test_the_place_is_kept_when_asked_for(photo, exif, target):
    picture = decode(carrying("jpeg", photo(3), exif))
    file = encode(picture, picture.image, format=target, keep_gps=True)
    _, _, place = facts_in(file)
    assert place[1] == "N" and float(place[2][2]) == pytest.approx(12.34567)
    assert b"52,30.5N" in decode(file).xmp


def test_the_block_is_edited_in_place(exif):
    cleaned = exif_block.cleaned(exif, 11, 12, keep_gps=True)
    assert len(cleaned) == len(exif)
    changed = [i for i, (a, b) in enumerate(zip(exif, cleaned, strict=True)) if a != b]
    assert len(changed) == 3  # the orientation, the width, the height


def test_dimensions_follow_an_enlargement(photo, exif):
    picture = decode(carrying("jpeg", photo(3), exif))
    large = torch.nn.functional.interpolate(picture.image, scale_factor=4)
    _, inner, _ = facts_in(encode(picture, large))
    assert (inner[0xA002], inner[0xA003]) == (large.shape[3], large.shape[2])


def test_the_stale_thumbnail_goes(photo):
    thumbnail = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(thumbnail, "JPEG")
    data = thumbnail.getvalue()
    first = struct.pack("<HHHIIH", 42, 8, 0, 1, 0, 0)  # placeholder, replaced below
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6)
    second = 8 + 2 + 12 + 4
    start = second + 2 + 24 + 4
    first = b"II" + struct.pack("<HI", 42, 8) + struct.pack("<H", 1) + entries + struct.pack("<I", second)
    link = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, start)
    link += struct.pack("<HHII", 0x0202, 4, 1, len(data)) + bytes(4)
    cleaned = exif_block.cleaned(first + link + data, 10, 10, keep_gps=False)
    assert data[:64] not in cleaned and data[-64:] not in cleaned
    assert exif_block.orientation(cleaned) == 1


@pytest.mark.parametrize("damage", ["cut", "count", "self", "random"])
def test_malformed_exif_is_dropped_not_trusted(photo, exif, damage):
    broken = bytearray(exif)
    rng = np.random.default_rng(1)
    if damage == "cut":
        broken = broken[:60]
    elif damage == "count":
        struct.pack_into(">H", broken, 8, 65000)
    elif damage == "self":
        at = bytes(broken).index(struct.pack(">HHI", 0x8825, 4, 1))
        struct.pack_into(">I", broken, at + 8, 8)
    else:
        broken = bytearray(b"MM\0*") + bytearray(rng.integers(0, 256, 300).astype(np.uint8).tobytes())
    picture = decode(codec.write(Raster(photo(3), "rgb", exif=bytes(broken)), "png", quality=None, lossless=True))
    notes: list[str] = []
    file = encode(picture, picture.image, warnings=notes)
    assert "EXIF" in notes[0]
    assert decode(file).exif is None


def test_random_damage_to_exif_never_raises(exif):
    rng = np.random.default_rng(2)
    for _ in range(300):
        broken = bytearray(exif)
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(256)
        try:
            cleaned = exif_block.cleaned(bytes(broken), 5, 5, keep_gps=False)
        except exif_block.ExifError:
            continue
        assert len(cleaned) == len(exif)


def test_xmp_without_a_place_is_kept_byte_for_byte(photo):
    packet = PACKET.replace(b'tiff:Orientation="6"', b"")
    assert xmp_packet.cleaned(packet, keep_gps=True) == packet
    cleaned = xmp_packet.cleaned(PACKET, keep_gps=False)
    assert b'tiff:Orientation="1"' in cleaned and b'xmp:Rating="4"' in cleaned and b"GPS" not in cleaned


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta GPS",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>GPS &b;</a>',
        PACKET.decode().encode("utf-16"),
        b"\xff\xfe GPS",
    ],
)
def test_unreadable_xmp_is_dropped_with_a_warning(photo, packet):
    picture = decode(codec.write(Raster(photo(3), "rgb", xmp=packet), "webp", quality=None, lossless=True))
    notes: list[str] = []
    file = encode(picture, picture.image, warnings=notes)
    assert "XMP" in notes[0] and decode(file).xmp is None


def test_too_long_metadata_is_dropped_from_jpeg_with_a_warning(photo, exif):
    long = PACKET.replace(b"A &amp; B", b"x" * 70_000)
    picture = decode(carrying("png", photo(3), exif, long))
    notes: list[str] = []
    again = decode(encode(picture, picture.image, format="jpeg", warnings=notes))
    assert "too long" in notes[0] and again.xmp is None and again.exif is not None


def test_a_picture_without_metadata_gets_none(photo):
    for kind in ("png", "jpeg", "webp", "tiff"):
        picture = decode(photo(3))
        again = decode(encode(picture, picture.image, format=kind))
        assert again.exif is None and again.xmp is None and again.icc is None


def test_resolution_is_kept_and_turned_with_the_picture(photo, exif):
    raster = Raster(photo(3), "rgb", exif=exif, dpi=(300.0, 150.0))
    picture = decode(codec.write(raster, "png", quality=None, lossless=True))
    assert picture.dpi == pytest.approx((150.0, 300.0), abs=0.1)
    assert decode(encode(picture, picture.image, format="tiff")).dpi == pytest.approx((150.0, 300.0), abs=0.1)
