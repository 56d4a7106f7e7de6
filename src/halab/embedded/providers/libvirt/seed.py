"""libvirt:index/cloudInitDisk:CloudInitDisk: a NoCloud seed (ISO 9660, label cidata) as a volume."""

from __future__ import annotations

import tempfile
import uuid
from io import BytesIO
from typing import Any, ClassVar

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from halab.embedded.provider import Call, Created, Props, ProviderError
from halab.embedded.providers.libvirt.host import Host, api, find
from halab.embedded.providers.libvirt.upload import upload
from halab.embedded.providers.libvirt.volume import delete_volume, new_volume, present, volume_xml
from halab.embedded.providers.libvirt.xml import render
from halab.embedded.providers.schema import Field, Fields, stated

# Input, name in the guest, ISO 9660 name as mkisofs shortens it (pulumi-libvirt reads a seed by these).
FILES = (
    ("userData", "user-data", "USER_DAT"),
    ("metaData", "meta-data", "META_DAT"),
    ("networkConfig", "network-config", "NETWORK_"),
)


class CloudInitDisk:
    fields: ClassVar[Fields] = {
        "name": Field(str, required=True),
        "pool": Field(str, default="default"),
        "userData": Field(str),
        "metaData": Field(str),
        "networkConfig": Field(str),
    }
    computed: ClassVar[tuple[str, ...]] = ()

    def create(self, host: Host, call: Call, inputs: Props) -> Created:
        name, pool, image = inputs["name"], host.pool(inputs["pool"]), seed_iso(inputs)
        # Seeds carry host keys: readable by the hypervisor only.
        text = render(volume_xml(name, capacity=len(image), format_="raw", mode="600"), {})
        volume = new_volume(host, call, pool, name, text)
        with tempfile.TemporaryFile() as file:
            file.write(image)
            file.flush()
            upload(host, call, pool, volume, file.fileno())
        return Created(f"{volume.key()};{uuid.uuid4()}", stated(inputs))

    def read(self, host: Host, call: Call, id_: str, outputs: Props) -> Props | None:
        pool = outputs.get("pool", "default")
        if find(lambda: host.connection().storagePoolLookupByName(pool), "VIR_ERR_NO_STORAGE_POOL") is None:
            return None
        host.pool(pool)
        volume = host.volume(key_of(id_))
        if volume is None:
            return None
        if present(volume.info) is None:
            return None
        live = {
            "name": volume.name(),
            "pool": volume.storagePoolLookupByVolume().name(),
        } | _texts(_download(host, volume))
        # An empty file stands for an input that was never given.
        return outputs | {name: text for name, text in live.items() if text or name in outputs}

    def update(self, host: Host, call: Call, id_: str, old: Props, inputs: Props) -> Props:
        return old | stated(inputs)

    def delete(self, host: Host, call: Call, id_: str, outputs: Props) -> None:
        delete_volume(host, call, key_of(id_), outputs.get("pool", "default"))


def _texts(image: bytes) -> Props:
    """What is in the seed; one that cannot be read (cut short, overwritten) is as one without content."""
    try:
        return seed_files(image)
    except ProviderError:
        return {key: "" for key, _, _ in FILES}


def key_of(id_: str) -> str:
    """The volume key in a seed's id ("key;uuid")."""
    return id_.split(";", 1)[0]


def seed_iso(inputs: Props) -> bytes:
    """The image: user-data, meta-data and network-config (empty when not given), with Joliet and Rock Ridge names."""
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident="cidata", joliet=3, rock_ridge="1.09", interchange_level=3)
    for key, name, short in FILES:
        content = inputs.get(key, "").encode()
        iso.add_fp(BytesIO(content), len(content), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}")
    image = BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()


def seed_files(image: bytes) -> Props:
    """The inputs of a seed image, by input name. Raises ProviderError when it is not one."""
    iso = pycdlib.PyCdlib()
    try:
        iso.open_fp(BytesIO(image))
        texts = {}
        for key, name, _short in FILES:
            content = BytesIO()
            iso.get_file_from_iso_fp(content, joliet_path=f"/{name}")
            texts[key] = content.getvalue().decode()
        iso.close()
    except PyCdlibException as error:
        raise ProviderError(f"the volume is not a cloud-init seed: {error}") from error
    return texts


def _download(host: Host, volume: Any) -> bytes:
    libvirt = api()
    image = BytesIO()
    stream = host.connection().newStream(0)
    volume.download(stream, 0, 0, 0)
    try:
        stream.recvAll(lambda _stream, data, _opaque: image.write(data), None)
        stream.finish()
    except libvirt.libvirtError:
        stream.abort()
        raise
    return image.getvalue()
