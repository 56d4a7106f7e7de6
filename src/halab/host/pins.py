"""The versions of the Pulumi CLI and its plugins, in one place; a test holds them to the SDKs of pyproject.toml."""

from __future__ import annotations

from collections.abc import Mapping

CLI = "3.272.0"
OLDEST_CLI = (3, 260, 0)
"""The oldest that knows every option the program uses."""

PLUGINS: Mapping[str, str] = {"libvirt": "0.5.4", "command": "1.2.1"}
"""The versions the SDKs ask for, exactly."""
