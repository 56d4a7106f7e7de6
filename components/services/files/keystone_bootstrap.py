"""Brings keystone's database to what the catalog file says: schema, roles, admin, service users, endpoints.

In: argv[1] the catalog (JSON); stdin one `NAME=password` line per secret that the catalog names. One process, because
loading keystone is most of the work. Running it again changes nothing; a changed password is set.
"""

# Keystone is on the guests only.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

import keystone.conf
import oslo_db.exception
import sqlalchemy
from keystone import exception
from keystone.cmd import bootstrap
from keystone.common import driver_hints, sql
from keystone.common.sql import upgrades

PROVIDERS = bootstrap.PROVIDERS
_ATTEMPTS = 5


def await_database(limit: float = 1200.0) -> None:
    """Wait for the database to let keystone's user in: it is made while this process loads. Seconds."""
    url, start = keystone.conf.CONF.database.connection, time.monotonic()
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args={"connect_timeout": 10})
    while True:
        try:
            with engine.connect():
                print(f"database: answers after {time.monotonic() - start:.0f} s", flush=True)
                return
        except sqlalchemy.exc.OperationalError as error:
            if time.monotonic() - start > limit:
                raise SystemExit(f"waited {limit:.0f} s for the database; last seen: {error.orig}") from None
            time.sleep(1)


def sync() -> None:
    """Create or upgrade the schema, unless it is at this release's heads already."""
    try:
        at_head = all(
            upgrades.get_db_version(branch) == upgrades.get_current_heads()[branch]
            for branch in (upgrades.EXPAND_BRANCH, upgrades.CONTRACT_BRANCH)
        )
    except Exception as error:  # an empty database answers in several ways, all of which mean "not at head"
        print(f"schema: {type(error).__name__}")
        at_head = False
    if not at_head:
        upgrades.offline_sync_database_to_version()
    print("schema: at head")


def service_project(domain: str) -> str:
    try:
        found: dict[str, Any] = PROVIDERS.resource_api.get_project_by_name("service", domain)
    except exception.ProjectNotFound:
        found = {"id": uuid.uuid4().hex, "name": "service", "domain_id": domain, "enabled": True}
        PROVIDERS.resource_api.create_project(found["id"], found)
    return str(found["id"])


def service_user(name: str, password: str, domain: str, project: str, roles: list[str]) -> None:
    api = PROVIDERS.identity_api
    try:
        user = api.get_user_by_name(name, domain)
        try:
            api.driver.authenticate(user["id"], password)
        except AssertionError:
            api.update_user(user["id"], {"password": password})
            print(f"user {name}: password set")
    except exception.UserNotFound:
        # A service's password is the stack's business: no lock-out by failed attempts, no expiry.
        options = {"ignore_lockout_failure_attempts": True, "ignore_password_expiry": True}
        user = api.create_user(
            {"name": name, "password": password, "domain_id": domain, "enabled": True, "options": options}
        )
        print(f"user {name}: created")
    for role in roles:
        try:
            PROVIDERS.assignment_api.add_role_to_user_and_project(user["id"], project, role)
        except exception.Conflict:
            print(f"user {name}: has its role already")


def service_entry(name: str, kind: str, url: str, region: str) -> None:
    api = PROVIDERS.catalog_api
    hints = driver_hints.Hints()
    hints.add_filter("type", kind)
    services = api.list_services(hints)
    if services:
        service = services[0]["id"]
    else:
        service = uuid.uuid4().hex
        api.create_service(service, {"id": service, "name": name, "type": kind, "enabled": True})
    hints = driver_hints.Hints()
    hints.add_filter("service_id", service)
    known = {endpoint["interface"]: endpoint for endpoint in api.list_endpoints(hints)}
    for interface in ("public", "internal", "admin"):
        if interface not in known:
            made = {"id": uuid.uuid4().hex, "interface": interface, "url": url, "service_id": service}
            api.create_endpoint(made["id"], {**made, "region_id": region, "enabled": True})
        elif known[interface]["url"] != url:
            api.update_endpoint(known[interface]["id"], {**known[interface], "url": url})


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        wanted = json.load(file)
    passwords = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin)
    # The order of keystone.cmd.cli.main.
    keystone.conf.configure()
    sql.initialize()
    keystone.conf.set_default_for_default_log_levels()
    keystone.conf.CONF(args=[], project="keystone")
    keystone.conf.setup_logging()
    # Loads every driver: work for the time until the database answers.
    maker = bootstrap.Bootstrapper()
    await_database()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            converge(maker, wanted, passwords)
        except oslo_db.exception.DBConnectionError as error:
            if attempt == _ATTEMPTS:
                raise
            print(f"attempt {attempt}: {error.inner_exception}", flush=True)
            await_database()
        else:
            return


def converge(maker: bootstrap.Bootstrapper, wanted: dict[str, Any], passwords: dict[str, str]) -> None:
    """What is there already stays, so that it can be begun again when the database goes to another node."""
    sync()
    identity = next(service for service in wanted["services"] if service["type"] == "identity")
    maker.admin_username, maker.project_name, maker.admin_role_name = "admin", "admin", "admin"
    maker.admin_password = passwords[wanted["admin_secret"]]
    maker.region_id, maker.service_name = wanted["region"], identity["name"]
    maker.public_url = maker.internal_url = maker.admin_url = identity["url"]
    maker.immutable_roles = True
    maker.bootstrap()

    project = service_project(maker.default_domain_id)
    for service in wanted["services"]:
        if service["user_secret"]:
            password = passwords[service["user_secret"]]
            # service: to check others' tokens; reader: to list what its own project has, as the gates do.
            roles = [maker.service_role_id, maker.reader_role_id]
            service_user(service["name"], password, maker.default_domain_id, project, roles)
            service_entry(service["name"], service["type"], service["url"], wanted["region"])
    print(f"{len(wanted['services'])} services registered")


main()
