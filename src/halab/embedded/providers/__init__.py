"""The providers that the embedded engine runs in its own process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from halab.embedded.provider import Provider
from halab.embedded.providers.command import CommandProvider
from halab.embedded.providers.libvirt import LibvirtProvider


def providers(libvirt_uri_default: str | None = None) -> Mapping[str, Callable[[], Provider]]:
    """Package name → a new, unconfigured provider. The URI is for libvirt providers that name none."""
    return {
        "libvirt": lambda: LibvirtProvider(libvirt_uri_default),
        "command": CommandProvider,
    }
