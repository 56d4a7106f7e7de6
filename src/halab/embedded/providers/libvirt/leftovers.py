"""What an interrupted create of a resource has left at the hypervisor, found by its name."""

from __future__ import annotations

from halab.embedded.provider import Props
from halab.embedded.providers.libvirt.host import Host, find


def left_id(host: Host, type_: str, inputs: Props) -> str | None:
    """The id of the thing under the inputs' name, None when there is none.

    Raises: ProviderError when the hypervisor does not answer.
    """
    name, connection = inputs["name"], host.connection()
    match type_.rpartition(":")[2]:
        case "Domain":
            return _uuid(find(lambda: connection.lookupByName(name), "VIR_ERR_NO_DOMAIN"))
        case "Network":
            return _uuid(find(lambda: connection.networkLookupByName(name), "VIR_ERR_NO_NETWORK"))
        case "Pool":
            return _uuid(find(lambda: connection.storagePoolLookupByName(name), "VIR_ERR_NO_STORAGE_POOL"))
        case _:
            return _volume_key(host, inputs.get("pool", "default"), name)


def _uuid(found: object) -> str | None:
    return None if found is None else str(found.UUIDString())  # type: ignore[attr-defined]


def _volume_key(host: Host, pool_name: str, name: str) -> str | None:
    pool = find(lambda: host.connection().storagePoolLookupByName(pool_name), "VIR_ERR_NO_STORAGE_POOL")
    if pool is None:
        return None
    volume = find(lambda: host.pool(pool_name).storageVolLookupByName(name), "VIR_ERR_NO_STORAGE_VOL")
    return None if volume is None else str(volume.key())
