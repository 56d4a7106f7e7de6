"""One machine on the libvirt of the configured URI, and commands on the SSH server of the configured connection."""

import pulumi
import pulumi_libvirt as lv
from pulumi_command import remote

config = pulumi.Config()
connection = remote.ConnectionArgs(**config.require_object("connection"))
provider = lv.Provider("libvirt", uri=config.require("uri"))
opts = pulumi.ResourceOptions(provider=provider, delete_before_replace=True)

pool = lv.Pool("pool", name="p", type="dir", target=lv.PoolTargetArgs(path="/var/lib/libvirt/images/p"), opts=opts)
base = lv.Volume("base", name="base", pool=pool.name, source=config.require("image"), format="qcow2", opts=opts)
root = lv.Volume("root", name="root", pool=pool.name, base_volume_id=base.id, size=1 << 30, opts=opts)
seed = lv.CloudInitDisk(
    "seed",
    name="seed.iso",
    pool=pool.name,
    user_data=pulumi.Output.secret("#cloud-config\n"),
    meta_data="instance-id: i\n",
    opts=opts,
)
network = lv.Network(
    "network",
    name="n",
    mode="none",
    bridge="hlcli0",
    addresses=["198.18.71.0/24"],
    dhcp=lv.NetworkDhcpArgs(enabled=False),
    autostart=True,
    opts=opts,
)
domain = lv.Domain(
    "domain",
    name="d",
    type="qemu",
    machine="pc",
    memory=config.require_int("memory"),
    cloudinit=seed.id,
    disks=[lv.DomainDiskArgs(volume_id=root.id)],
    network_interfaces=[lv.DomainNetworkInterfaceArgs(network_id=network.id, mac="52:54:00:aa:bb:01")],
    consoles=[lv.DomainConsoleArgs(type="pty", target_type="serial", target_port="0")],
    graphics=lv.DomainGraphicsArgs(type="vnc", listen_type="address"),
    opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(replace_with=[root, seed, network])),
)
on_domain = pulumi.ResourceOptions(depends_on=[domain], deleted_with=domain)
remote.CopyToRemote(
    "copy",
    connection=connection,
    source=pulumi.StringAsset("text\n"),
    remote_path=f"{config.require('folder')}/copied",
    opts=on_domain,
)
step = remote.Command(
    "step",
    connection=connection,
    create="cat; echo warned >&2",
    stdin="given",
    triggers=[domain.id],
    add_previous_output_in_env=False,
    opts=on_domain,
)
pulumi.export("stdout", step.stdout)
