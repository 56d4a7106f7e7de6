"""A built image boots directly with the seed on its IDE cdrom, as an operator and a recipe need it: keys, addresses,
console, machine-id, disk. Plain QEMU in a network namespace of its own: what the image does, without halab around it.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from components.cmdline import GUEST
from halab.embedded.providers.libvirt.seed import seed_iso
from halab.image import build

UUID = "5e1f1e5a-0c3d-4f6e-9b57-6d1c7a0e2f11"
MAC = "52:54:00:12:34:56"
#: Seconds; alone on the small machine a boot takes 13, beside a cloud that comes up ten times that.
LIMIT = 400.0

pytestmark = pytest.mark.timeout(1500)


def key_pair() -> tuple[str, str]:
    """A private key in OpenSSH's format and its public line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


class Guest:
    """A gateway under QEMU's user network: port 22 of the guest is 2222 inside the namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        image = build(["gateway"])["gateway"]
        login, login_public = key_pair()
        host, host_public = key_pair()
        self.key = folder / "key"
        self.key.touch(0o600)
        self.key.write_text(login)
        (folder / "known_hosts").write_text(f"[127.0.0.1]:2222 {host_public}\n")
        user_data = {
            "ssh_keys": {"ed25519_private": host, "ed25519_public": host_public},
            "users": [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": [login_public]}],
            "write_files": [
                {"path": "/root/written", "encoding": "b64", "content": base64.b64encode(b"by the seed").decode()}
            ],
            "runcmd": [["sh", "-c", "cp /root/written /root/copied"]],
        }
        network = {
            "version": 2,
            "ethernets": {
                "lan": {
                    "match": {"macaddress": MAC},
                    "addresses": ["10.0.2.15/24"],
                    "routes": [{"to": "0.0.0.0/0", "via": "10.0.2.2"}],
                }
            },
        }
        seed = folder / "seed.iso"
        seed.write_bytes(
            seed_iso(
                {
                    "userData": "#cloud-config\n" + yaml.safe_dump(user_data),
                    "metaData": yaml.safe_dump({"instance-id": "one", "local-hostname": "gateway-1"}),
                    "networkConfig": yaml.safe_dump(network),
                }
            )
        )
        disk = folder / "root.qcow2"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.qcow2, disk, "10G"], check=True
        )
        qemu = ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "1024", "-nodefaults", "-display", "none"]
        qemu += ["-uuid", UUID, "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", " ".join(GUEST)]
        qemu += ["-drive", f"file={disk},if=virtio,format=qcow2,cache=unsafe"]
        qemu += ["-drive", f"file={seed},if=none,id=seed,media=cdrom,readonly=on,format=raw"]
        qemu += ["-device", "ide-cd,bus=ide.1,unit=1,drive=seed"]
        qemu += ["-netdev", "user,id=lan,hostfwd=tcp:127.0.0.1:2222-:22"]
        qemu += ["-device", f"virtio-net-pci,netdev=lan,mac={MAC}"]
        qemu += [
            "-chardev",
            f"socket,id=console,path={folder}/console,server=on,wait=off",
            "-serial",
            "chardev:console",
        ]
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *qemu],
            stdin=subprocess.DEVNULL,
            stderr=(folder / "qemu.log").open("w"),
        )

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        client = ["ssh", "-F", "none", "-p", "2222", "-i", str(self.key), "-o", "BatchMode=yes"]
        client += ["-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "ConnectTimeout=30"]
        enter = ["nsenter", "--net", "--target", str(self.process.pid)]
        return subprocess.run(
            [*enter, *client, "root@127.0.0.1", command], capture_output=True, text=True, timeout=LIMIT
        )

    def told(self, command: str) -> str:
        done = self.ssh(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            if self.process.poll() is not None:
                pytest.fail(f"waited for {what}; qemu ended: {(self.folder / 'qemu.log').read_text()}")
            if time.monotonic() > end:
                pytest.fail(f"waited {LIMIT:.0f} s for {what}; last answer of ssh: {self.ssh('true').stderr}")
            time.sleep(0.5)

    def booted(self, other_than: str = "") -> str:
        """The id of this boot, once the guest answers and cloud-init has ended."""
        seen = ""

        def answers() -> bool:
            nonlocal seen
            seen = self.ssh("cat /proc/sys/kernel/random/boot_id").stdout.strip()
            return seen not in ("", other_than)

        self.until("an answer over ssh", answers)
        self.until("the end of cloud-init", lambda: self.ssh("cloud-init status --wait").returncode in (0, 2))
        return seen


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    guest = Guest(tmp_path_factory.mktemp("guest"))
    try:
        guest.booted()
        yield guest
    finally:
        guest.process.kill()
        guest.process.wait()


def test_the_seed_is_applied_and_nothing_failed(guest: Guest) -> None:
    assert guest.told("cloud-init status") == "status: done"
    assert guest.told("systemctl --failed --no-legend --plain") == ""
    assert guest.told("hostname") == "gateway-1"
    assert guest.told("cat /root/copied") == "by the seed"
    assert "10.0.2.15/24" in guest.told("ip -br address show eth0")
    assert guest.told("ip route show default").startswith("default via 10.0.2.2")


def test_the_host_key_is_the_supplied_one_and_a_password_is_no_way_in(guest: Guest) -> None:
    # The known_hosts file holds only the supplied key, so every login above has verified it.
    assert guest.told("ls /etc/ssh/ssh_host_*") == "/etc/ssh/ssh_host_ed25519_key\n/etc/ssh/ssh_host_ed25519_key.pub"
    settings = guest.told("sshd -T | grep -E '^(passwordauthentication|kbdinteractiveauthentication|permitrootlogin) '")
    assert settings.split() == [
        *("permitrootlogin", "without-password"),
        *("passwordauthentication", "no"),
        *("kbdinteractiveauthentication", "no"),
    ]


def test_the_root_filesystem_fills_an_overlay_larger_than_the_image(guest: Guest) -> None:
    assert int(guest.told("stat -f -c %b / | awk '{print $1 * 4096}'")) > 9 << 30


def test_services_wait_for_their_step(guest: Guest) -> None:
    assert guest.ssh("systemctl is-active dnsmasq nftables haproxy").stdout.split() == ["inactive"] * 3
    assert (
        guest.told("systemctl start haproxy && systemctl enable haproxy && systemctl is-enabled haproxy") == "enabled"
    )


def test_the_serial_console_gives_a_root_shell_at_the_first_enter(guest: Guest) -> None:
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(f"{guest.folder}/console")
        console.settimeout(LIMIT)
        console.sendall(b"\r")
        seen = b""
        while b"# " not in seen:
            seen += console.recv(4096)
        console.sendall(b"echo $(id -un)-$((6 * 7)); exit\r")
        while b"root-42" not in seen:
            seen += console.recv(4096)


def test_the_machine_id_is_the_domains_and_survives_a_reboot(guest: Guest) -> None:
    boot = guest.told("cat /proc/sys/kernel/random/boot_id")
    assert guest.told("cat /etc/machine-id") == UUID.replace("-", "")
    guest.ssh("systemctl reboot")
    guest.booted(other_than=boot)
    assert guest.told("cat /etc/machine-id") == UUID.replace("-", "")
    assert guest.told("cloud-init status") == "status: done"
    assert "10.0.2.15/24" in guest.told("ip -br address show eth0")
