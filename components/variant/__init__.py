"""A stack file as frozen values: what was asked for, checked, before any of it means a VM.

`stacks/Pulumi.<stack>.yaml` is the Pulumi stack file; halab's part is the object under `config: halab:stack:`.
`parse` and `load` report every mistake of a file at once, one line each: line, key, value, rule, what would be right.
"""

from components.variant.loading import load, stack_file
from components.variant.model import (
    HOMES,
    MANAGEABLE,
    TIERS,
    CacheScope,
    ClusterOptions,
    Fencing,
    Hypervisor,
    Membership,
    Networks,
    Role,
    RoleSpec,
    Service,
    Stack,
    Timers,
    Variant,
    VipLayout,
    VipManager,
    Vips,
    image,
)
from components.variant.problems import StackError
from components.variant.reading import CONFIG_KEY, parse

__all__ = [
    "CONFIG_KEY",
    "HOMES",
    "MANAGEABLE",
    "TIERS",
    "CacheScope",
    "ClusterOptions",
    "Fencing",
    "Hypervisor",
    "Membership",
    "Networks",
    "Role",
    "RoleSpec",
    "Service",
    "Stack",
    "StackError",
    "Timers",
    "Variant",
    "VipLayout",
    "VipManager",
    "Vips",
    "image",
    "load",
    "parse",
    "stack_file",
]
