"""The `libvirt` package: Check, Diff and dispatch by resource type; the work is in one module per kind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from halab.embedded.provider import UNKNOWN, Call, Created, Diff, Props, ProviderError
from halab.embedded.providers import schema
from halab.embedded.providers.libvirt.domain import Domain
from halab.embedded.providers.libvirt.host import Host, alive, api, said
from halab.embedded.providers.libvirt.leftovers import left_id
from halab.embedded.providers.libvirt.network import Network
from halab.embedded.providers.libvirt.pool import Pool
from halab.embedded.providers.libvirt.resource import Kind
from halab.embedded.providers.libvirt.seed import CloudInitDisk
from halab.embedded.providers.libvirt.volume import Volume

KINDS: Mapping[str, Kind] = {
    "libvirt:index/pool:Pool": Pool(),
    "libvirt:index/volume:Volume": Volume(),
    "libvirt:index/network:Network": Network(),
    "libvirt:index/cloudInitDisk:CloudInitDisk": CloudInitDisk(),
    "libvirt:index/domain:Domain": Domain(),
}


class LibvirtProvider:
    """Pools, volumes, networks, seeds and domains of one libvirt URI, with pulumi-libvirt's inputs and outputs.

    Where pulumi-libvirt accepts a change but does not apply it (a domain's kernel, disks or interfaces, a network's
    MTU), the change replaces the resource. What exists under a wanted name is never adopted; what fails half way is
    taken back; deleting what is gone succeeds.
    """

    package = "libvirt"
    version = "0.5.4"

    def __init__(self, uri_default: str | None = None) -> None:
        self._uri_default = uri_default
        self._host: Host | None = None

    def check_config(self, inputs: Props) -> Props:
        uri = inputs.get("uri")
        if uri is not None and not isinstance(uri, str):
            raise ProviderError(f"libvirt provider: uri must be a string, not {type(uri).__name__}")
        return inputs

    def configure(self, inputs: Props) -> None:
        uri = inputs.get("uri") or self._uri_default or os.environ.get("LIBVIRT_DEFAULT_URI")
        if not uri:
            raise ProviderError("libvirt provider: uri is missing: set it on the provider or in LIBVIRT_DEFAULT_URI")
        self._host = Host(str(uri))

    def check(self, type_: str, name: str, old: Props | None, new: Props) -> Props:
        kind = _kind(type_)
        if new.get("name") is not None:
            return schema.check(type_, kind.fields, new)
        kept = (old or {}).get("name") if "name" in (old or {}).get(schema.DEFAULTS, []) else None
        checked = schema.check(type_, kind.fields, new | {"name": kept or f"{name}-{secrets.token_hex(4)[:7]}"})
        return checked | {schema.DEFAULTS: sorted([*checked[schema.DEFAULTS], "name"])}

    def diff(self, type_: str, id_: str, old_inputs: Props, old_outputs: Props, new_inputs: Props) -> Diff:
        changes = schema.diff(_kind(type_).fields, old_outputs, new_inputs)
        # Two objects of one name cannot exist at once, so only generated names may be created first.
        named = "name" not in new_inputs.get(schema.DEFAULTS, [])
        return Diff(changes, delete_before_replace=named and Diff(changes).replaces)

    def create(self, type_: str, call: Call, inputs: Props, *, preview: bool) -> Created:
        kind = _kind(type_)
        if preview:
            return Created("", dict.fromkeys(kind.computed, UNKNOWN) | schema.stated(inputs))
        host = self._configured()
        connection = host.connection()
        try:
            with _words(host, type_, inputs):
                made = kind.create(host, call, inputs)
        except ProviderError as error:
            uncertain = error.uncertain or not alive(connection)
            raise ProviderError(str(error), error.created, uncertain=uncertain) from error
        return Created(made.id, made.outputs | {"id": made.id})

    def read(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> Props | None:
        host = self._configured()
        with _words(host, type_, outputs):
            return _kind(type_).read(host, call, id_, _present(outputs))

    def update(
        self, type_: str, call: Call, id_: str, old_inputs: Props, old_outputs: Props, inputs: Props, *, preview: bool
    ) -> Props:
        if preview:
            return old_outputs | schema.stated(inputs)
        host = self._configured()
        with _words(host, type_, inputs):
            return _kind(type_).update(host, call, id_, _present(old_outputs), inputs) | {"id": id_}

    def delete(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> None:
        host = self._configured()
        with _words(host, type_, outputs):
            _kind(type_).delete(host, call, id_, _present(outputs))

    def take_back(self, type_: str, call: Call, inputs: Props) -> None:
        """Remove what a create that was killed half way left under the name of its inputs."""
        host = self._configured()
        with _words(host, type_, inputs):
            if (left := left_id(host, type_, inputs)) is not None:
                _kind(type_).delete(host, call, left, schema.stated(inputs))

    def close(self) -> None:
        if self._host is not None:
            self._host.close()

    def _configured(self) -> Host:
        if self._host is None:
            raise ProviderError("libvirt provider: used before it was configured")
        return self._host


class _words:
    """Turns what libvirt or the file system raised into a ProviderError naming the resource.

    It counts as uncertain: a create that libvirt refuses cleans up behind itself, unless that fails as well.
    """

    def __init__(self, host: Host, type_: str, props: Props) -> None:
        self._host = host
        self._what = f"{type_.rsplit(':', 1)[1]} {props.get('name', '')}".rstrip()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise ProviderError(f"{self._what}: {error.strerror or error}", uncertain=True) from error
        if error is not None and not isinstance(error, ProviderError) and isinstance(error, api().libvirtError):
            lost = f"libvirt at {self._host.uri} went away: " if self._host.lost() else ""
            raise ProviderError(f"{self._what}: {lost}{said(error)}", uncertain=True) from error


def _present(outputs: Props) -> Props:
    """The outputs without the nulls that a state of the plugin holds."""
    return {name: value for name, value in outputs.items() if value is not None}


def _kind(type_: str) -> Kind:
    if type_ not in KINDS:
        raise ProviderError(f"the embedded engine does not implement {type_}: use --engine cli")
    return KINDS[type_]
