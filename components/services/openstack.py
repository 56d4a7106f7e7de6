"""What the OpenStack API services have in common: their configuration's shape, uwsgi, systemd unit and steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from components.parts import UNIT_AGENT, Listener, Operation, Resource
from components.recipe import File, Recipe
from components.secrets import CA_PEM
from components.services import memcached
from components.steps import Step, contents, on
from components.topology import Node, Topology
from components.variant import CacheScope, Service

#: Where every node that asks an endpoint keeps the stack's CA certificate.
CA_FILE = "/etc/halab/ca.pem"
#: Answered by uwsgi itself, in the worker that holds the application: no Python runs, so a check each second is cheap.
CHECK_PATH = "/healthcheck"
REGION = "RegionOne"
#: Seconds for an API to load: 40 s of processor time under emulation, of which a full host gives little.
_START_LIMIT = 2400
#: oslo.middleware's limit as the OpenStack Security Guide asks for it, in bytes.
BODY_LIMIT = 114_688
Sections = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Api:
    """One API: `unit` its systemd unit, `user` its system user and group, `port` the one on nodes and VIP."""

    service: Service
    unit: str
    user: str
    port: int
    wsgi: str
    catalog_type: str
    description: str

    @property
    def database_secret(self) -> str:
        return f"{self.service.upper()}_DB"

    @property
    def user_secret(self) -> str:
        """The password of the service's own user in keystone."""
        return f"{self.service.upper()}_USER"

    @property
    def cache_secret(self) -> str:
        """What seals the tokens that the service's nodes share through memcached."""
        return f"{self.service.upper()}_CACHE"


KEYSTONE = Api(
    Service.KEYSTONE, "keystone", "keystone", 5000, "/usr/bin/keystone-wsgi-public", "identity", "OpenStack Identity"
)
GLANCE = Api(Service.GLANCE, "glance-api", "glance", 9292, "/usr/bin/glance-wsgi-api", "image", "OpenStack Image")
PLACEMENT = Api(
    Service.PLACEMENT, "placement-api", "placement", 8778, "/usr/bin/placement-api", "placement", "OpenStack Placement"
)
APIS = (KEYSTONE, GLANCE, PLACEMENT)


def ini(sections: Sections) -> str:
    """An oslo.config, uwsgi or systemd-free INI file of the sections in order."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for name, values in sections.items()
    )


def endpoint(topology: Topology, api: Api) -> str:
    return f"https://{topology.endpoint_host(api.service)}:{api.port}"


def database(topology: Topology, api: Api) -> dict[str, str]:
    """oslo.db's options: through the database VIP, TLS checked against the stack's CA."""
    host = topology.endpoint_host(Service.GALERA)
    url = f"mysql+pymysql://{api.user}:@{{{api.database_secret}}}@{host}/{api.user}"
    return {
        "connection": f"{url}?charset=utf8mb4&ssl_ca={CA_FILE}",
        "max_pool_size": "5",
        "max_overflow": "10",
        "connection_recycle_time": "280",
        "max_retries": "-1",
        "mysql_wsrep_sync_wait": "1",
    }


def schema_env(topology: Topology, api: Api) -> dict[str, str]:
    """What the action `schema` of an API's recipe needs to look at its database."""
    return {"OWNER": api.user, "CA_FILE": CA_FILE, "DATABASE_HOST": topology.endpoint_host(Service.GALERA)}


def memcached_servers(topology: Topology, node: Node) -> str:
    """Those that an API on the node uses."""
    shared = topology.stack.cache is CacheScope.SHARED
    return ",".join(
        f"{one.ip}:{memcached.PORT}" for one in topology.running(Service.MEMCACHED) if shared or one == node
    )


def authtoken(topology: Topology, api: Api, node: Node) -> dict[str, str]:
    """keystonemiddleware's options: tokens are checked at keystone's VIP, over TLS."""
    url = endpoint(topology, KEYSTONE)
    options = {
        "www_authenticate_uri": url,
        "auth_url": url,
        "auth_type": "password",
        "username": api.user,
        "password": f"@{{{api.user_secret}}}",
        "user_domain_name": "Default",
        "project_name": "service",
        "project_domain_name": "Default",
        "region_name": REGION,
        "cafile": CA_FILE,
        "service_token_roles_required": "true",
        "service_token_roles": "service",
    }
    if servers := memcached_servers(topology, node):
        # memcached asks nobody who they are: what is kept there is sealed, so that no one else reads or plants tokens.
        options["memcached_servers"] = servers
        options["memcache_security_strategy"] = "ENCRYPT"
        options["memcache_secret_key"] = f"@{{{api.cache_secret}}}"
    return options


def uwsgi(api: Api, node: Node, extra: Mapping[str, str] | None = None) -> str:
    """One process, no master: systemd is the one that supervises. It answers once the application is loaded."""
    return ini(
        {
            "uwsgi": {
                "plugins": "python3",
                "http-socket": f"{node.ip}:{api.port}",
                "wsgi-file": api.wsgi,
                "chdir": f"/var/lib/{api.user}",
                "name": api.unit,
                "need-app": "true",
                "single-interpreter": "true",
                "processes": "1",
                "threads": "4",
                "enable-threads": "true",
                "listen": "100",
                "buffer-size": "65535",
                "die-on-term": "true",
                "close-on-exec": "true",
                "rem-header": "Content-Length",
                "disable-logging": "true",
                "log-5xx": "true",
                "route": f"^{CHECK_PATH}$ break:200 OK",
                **(extra or {}),
            }
        }
    )


def uwsgi_path(api: Api) -> str:
    return f"/etc/{api.user}/halab-uwsgi.ini"


def unit(api: Api, mounts: str = "", before: str = "") -> File:
    """The whole unit: Debian's wants mysql, rabbitmq and memcached, and would start them behind Pacemaker's back.

    `mounts`: a path that must be mounted; `before`: a command that must succeed before the service starts.
    """
    requires = f"RequiresMountsFor={mounts}\n" if mounts else ""
    first = f"ExecStartPre={before}\n" if before else ""
    text = f"""[Unit]
Description={api.description}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
{requires}
[Service]
User={api.user}
Group={api.user}
Type=notify
RuntimeDirectory={api.user}
CacheDirectory={api.user}
UMask=0027
Environment=EVENTLET_NO_GREENDNS=yes
{first}ExecStart=/usr/bin/uwsgi_python3 --ini {uwsgi_path(api)}
KillSignal=SIGTERM
SuccessExitStatus=30
Restart=on-failure
RestartSec=2
TimeoutStartSec={_START_LIMIT}
TimeoutStopSec=30
LimitNOFILE=65535
CPUWeight=20
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""
    return File(f"/etc/systemd/system/{api.unit}.service", text)


def apart(topology: Topology, service: Service) -> bool:
    """Whether a service's nodes come and go without the load balancers': each enters them when it is up."""
    nodes = topology.running(service)
    return not topology.managed(service) and not any(Service.HAPROXY in node.services for node in nodes)


def entered(topology: Topology, service: Service) -> frozenset[str]:
    """The steps after which a service answers on its VIP as far as the load balancers are concerned."""
    proxies = topology.running(Service.HAPROXY) if apart(topology, service) else ()
    return frozenset({"haproxy.ready", *(f"haproxy.enter@{node.name}" for node in proxies)})


def listener(topology: Topology, api: Api) -> Listener:
    return Listener(api.service, api.port, api.port, "http", True, CHECK_PATH, api.port)


def resource(api: Api, after: tuple[Service, ...], together: tuple[Service, ...] = ()) -> Resource:
    """A clone that starts after other services' and stops before them: with one of them fails what needs it too."""
    operations = (Operation("start", timeout=1200), Operation("stop", timeout=120), Operation("monitor", 60, 60))
    unit = {"unit": f"{api.unit}.service"}
    meta = {"interleave": "true"}
    return Resource(
        api.service, UNIT_AGENT, operations, unit, meta, after=after, ordering="Mandatory", together=together
    )


def steps(
    topology: Topology,
    api: Api,
    recipe: Recipe,
    files: Mapping[str, tuple[File, ...]],
    configure_after: Iterable[str],
    start_after: Iterable[str],
    ready_after: Iterable[str],
    ready_env: Mapping[str, str],
    ready_secrets: frozenset[str],
    ready_node: Node,
) -> tuple[Step, ...]:
    """`configure` and, unless Pacemaker does it, `start` on every node of the API, and its gate.

    `files`: those of `configure`, per node name. `configure_after`: what `configure` waits for beside the node's
    secrets; `start_after`: what a start by systemd waits for beside the configuration; `ready_after`: what the gate
    waits for beside the service itself.
    """
    nodes = topology.running(api.service)
    managed = topology.managed(api.service)
    own = {api.user_secret, api.cache_secret}
    env = {
        "UNIT": api.unit,
        "OWNER": api.user,
        "CA_FILE": CA_FILE,
        "UWSGI": uwsgi_path(api),
        "MANAGED": "yes" if managed else "",
        "LOCKS": " ".join(f"{node.ip}:{memcached.PORT}" for node in topology.running(Service.MEMCACHED)),
    }
    configure = tuple(
        Step(
            name=on(recipe, "configure", node.name),
            node=node.name,
            recipe=recipe,
            action="configure",
            env=env,
            files=files[node.name],
            secrets=frozenset({CA_PEM, api.database_secret} | (own if api is not KEYSTONE else set())),
            after=frozenset({f"machine.secrets@{node.name}", *configure_after}),
        )
        for node in nodes
    )
    start = tuple(
        Step(
            name=on(recipe, "start", node.name),
            node=node.name,
            recipe=recipe,
            action="start",
            env={**env, **contents(files[node.name])},
            after=frozenset({on(recipe, "configure", node.name), *start_after}),
            timeout=_START_LIMIT + 60,
        )
        for node in nodes
        if not managed
    )
    running = {"pacemaker.ready"} if managed else {step.name for step in start}
    ready = Step(
        name=f"{api.service}.ready",
        node=ready_node.name,
        recipe=recipe,
        action="ready",
        env={
            **env,
            "URL": endpoint(topology, api),
            "BACKENDS": " ".join(f"http://{node.ip}:{api.port}{CHECK_PATH}" for node in nodes),
            **ready_env,
        },
        secrets=ready_secrets,
        after=frozenset({*running, *ready_after}) | entered(topology, api.service),
        timeout=1260,
    )
    return (*configure, *start, ready)
