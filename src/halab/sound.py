"""Whether what a stack has on this host fits together, before an up believes its state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from halab.embedded.engine.checkpoint import Store, salt_of
from halab.embedded.engine.cipher import Cipher
from halab.embedded.hypervisor import Hypervisor
from halab.embedded.provider import ProviderError
from halab.embedded.providers.libvirt.host import Host, api, find
from halab.errors import HalabError, RefusedError
from halab.image import cache
from halab.keys import Keys
from halab.snapshot import intent
from halab.workspace import Workspace

DOMAIN, NETWORK, _POOL = (f"libvirt:index/{kind}" for kind in ("domain:Domain", "network:Network", "pool:Pool"))
_VOLUMES = ("libvirt:index/volume:Volume", "libvirt:index/cloudInitDisk:CloudInitDisk")
_LEFT = ("domain", "network /", "pool", "volume")


@dataclass(frozen=True, slots=True)
class Expected:
    """The names of the objects that the state has; `unfinished`: whether a run was cut off."""

    domains: frozenset[str]
    volumes: frozenset[str]
    unfinished: bool


def deployment(workspace: Workspace) -> dict[str, Any] | None:
    """What the stack's state has, None without one. Raises StateError when it is damaged."""
    return Store(workspace.checkpoint, workspace.stack, workspace.project).read()


def resources(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The resources of a deployment, as they are in the file."""
    return [one for one in found.get("resources") or [] if isinstance(one, dict)]


def expected(workspace: Workspace) -> Expected | None:
    """None without a state. Raises StateError when it is damaged."""
    found = deployment(workspace)
    if found is None:
        return None
    there = resources(found)

    def names(*types: str) -> frozenset[str]:
        return frozenset(_name(one) for one in there if one.get("type") in types)

    return Expected(names(DOMAIN), names(*_VOLUMES), bool(found.get("pending_operations")))


def _name(resource: Mapping[str, Any]) -> str:
    return str((resource.get("outputs") or {}).get("name", ""))


def unfinished(workspace: Workspace) -> bool:
    """Whether the state has something that a run began and did not end. Raises StateError when it is damaged."""
    found = expected(workspace)
    return found is not None and found.unfinished


def require(workspace: Workspace, *, embedded: bool) -> None:
    """Raises StateError, PassphraseError, KeysError or RefusedError for what an up must not build on.

    Nothing is changed.
    """
    _try_passphrase(workspace)
    found, keys = expected(workspace), Keys.load(workspace.stack, workspace.state)
    anew = f"./halab down --stack {workspace.stack}, then ./halab up --stack {workspace.stack}"
    if found is not None and found.domains and keys is None:
        raise RefusedError(
            f"{workspace.stack}: its keys are gone from {workspace.paths.keys}: nobody can log in to its "
            f"{len(found.domains)} VMs any more, and an up would build them all anew, with empty disks; "
            f"put the folder back, or: {anew}"
        )
    if found is None and embedded and intent.read(workspace) is None:
        left = [line for line in Hypervisor(workspace.stack, workspace.state).leftovers() if line.startswith(_LEFT)]
        if left:
            raise RefusedError(
                f"{workspace.stack}: its state is lost, or a down was cut off: there is still {left[0]}"
                f"{f' and {len(left) - 1} more' if left[1:] else ''}: {anew}"
            )


def _try_passphrase(workspace: Workspace) -> None:
    """Before anything is started for a state that cannot be read then."""
    found = deployment(workspace) or {}
    provider = (found.get("secrets_providers") or {}).get("type")
    if provider == "passphrase" and (salt := salt_of(found)):
        Cipher.open(workspace.passphrase(keep=False), salt, str(workspace.checkpoint))


def differs(workspace: Workspace, uri: str, domains: Mapping[str, str]) -> bool:
    """Whether the state is not so: a run was cut off, or VMs or disks changed behind halab's back (a reboot, too).

    `domains`: node to libvirt's word for its VM. Raises HalabError where an image's copy was cut short.
    """
    found = expected(workspace)
    if found is None:
        return False
    volumes = _volumes(workspace, uri)
    _refuse_cut_images(workspace, volumes)
    off = (
        domains[node.name] not in ("running", "idle", "in shutdown") and node.domain in found.domains
        for node in workspace.topology.nodes
    )
    return found.unfinished or any(off) or not found.volumes <= volumes.keys()


def _volumes(workspace: Workspace, uri: str) -> Mapping[str, int]:
    """The bytes of each file in the stack's pool, by volume name."""
    libvirt, host = api(), Host(uri)
    try:
        name = workspace.topology.prefix
        if find(lambda: host.connection().storagePoolLookupByName(name), "VIR_ERR_NO_STORAGE_POOL") is None:
            return {}
        pool = host.pool(name)
        pool.refresh(0)
        physical = libvirt.VIR_STORAGE_VOL_GET_PHYSICAL
        return {volume.name(): volume.infoFlags(physical)[2] for volume in pool.listAllVolumes()}
    except (libvirt.libvirtError, ProviderError) as error:
        raise HalabError(f"libvirt on {uri}: {error}") from error
    finally:
        host.close()


def _refuse_cut_images(workspace: Workspace, volumes: Mapping[str, int]) -> None:
    for name, size in _images(workspace):
        if (has := volumes.get(name, size)) != size:
            raise HalabError(
                f"{workspace.stack}: volume {name} has {has} of its {size} bytes: it was cut short, and what VMs read "
                f"from it is not what was built: ./halab down --stack {workspace.stack}, then ./halab up --stack "
                f"{workspace.stack}"
            )


def _images(workspace: Workspace) -> Iterator[tuple[str, int]]:
    """The volumes that are copies of files in the image cache, and the bytes they must have."""
    prefix = workspace.topology.prefix
    for image in sorted({node.image for node in workspace.topology.nodes}):
        manifest = cache.read_manifest(cache.image_directory(image))
        for file, recorded in manifest.files.items() if manifest else ():
            what, suffix = {"vmlinux": ("kernel", "raw"), "initrd": ("initrd", "raw")}.get(file, (image, "qcow2"))
            yield f"{prefix}-{what}-{recorded.sha256[:12]}.{suffix}", recorded.size
