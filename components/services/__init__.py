"""The services a cloud is made of: one module and one recipe each, and what each tells the others."""

from __future__ import annotations

from collections.abc import Mapping

from components.parts import ServicePart
from components.services import (
    galera,
    garbd,
    gateway,
    glance,
    haproxy,
    keepalived,
    keystone,
    memcached,
    nfs,
    placement,
    rabbitmq,
    redis,
)
from components.variant import Service

#: Every service's part.
PARTS: Mapping[Service, ServicePart] = {
    module.PART.service: module.PART
    for module in (
        galera,
        rabbitmq,
        memcached,
        haproxy,
        keystone,
        glance,
        placement,
        nfs,
        gateway,
        keepalived,
        redis,
        garbd,
    )
}
