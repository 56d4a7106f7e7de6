"""The resource types of pulumi-command 1.2.1, with SSH by asyncssh over pooled connections."""

from halab.embedded.providers.command.provider import CommandProvider

__all__ = ["CommandProvider"]
