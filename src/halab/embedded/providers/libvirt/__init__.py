"""The resource types of pulumi-libvirt 0.5.4 that the program uses, over libvirt-python."""

from halab.embedded.providers.libvirt.provider import LibvirtProvider

__all__ = ["LibvirtProvider"]
