"""What the provider asks of one kind of libvirt resource."""

from __future__ import annotations

from typing import ClassVar, Protocol

from halab.embedded.provider import Call, Created, Props
from halab.embedded.providers.libvirt.host import Host
from halab.embedded.providers.schema import Fields


class Kind(Protocol):
    """One resource type. `computed` are the outputs unknown before creation. Functions raise ProviderError."""

    fields: ClassVar[Fields]
    computed: ClassVar[tuple[str, ...]]

    def create(self, host: Host, call: Call, inputs: Props) -> Created: ...
    def read(self, host: Host, call: Call, id_: str, outputs: Props) -> Props | None: ...
    def update(self, host: Host, call: Call, id_: str, old: Props, inputs: Props) -> Props: ...
    def delete(self, host: Host, call: Call, id_: str, outputs: Props) -> None: ...
