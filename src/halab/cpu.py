"""CPU time on this host: of a stack's VMs, and of halab itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import urlsplit

from halab.embedded.provider import ProviderError
from halab.embedded.providers.libvirt.host import Host, api


def of_domains(uri: str, names: Iterable[str]) -> dict[str, float] | None:
    """Seconds of user and system time by name, of those domains that run (virDomainGetInfo: their processes' own).

    None where they are on another host, whose cores are not ours, or where libvirt does not answer.
    """
    if urlsplit(uri).hostname:
        return None
    host, wanted = Host(uri), frozenset(names)
    try:
        domains = host.connection().listAllDomains(api().VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        return {domain.name(): domain.info()[4] / 1e9 for domain in domains if domain.name() in wanted}
    except (ProviderError, api().libvirtError):
        return None
    finally:
        host.close()


def own() -> float:
    """Seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])
