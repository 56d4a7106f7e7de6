"""What the program takes from this host: images, keys, and the hypervisor where ./halab did not choose one."""

from __future__ import annotations

import os
from pathlib import Path

from components.images import Image, ImageFile
from components.topology import Topology
from halab.embedded.hypervisor.paths import state_folder
from halab.errors import RefusedError
from halab.image import cache, spec
from halab.keys import Keys

#: Set by ./halab: the libvirt URI and the domain type of the hypervisor it runs the stack on.
URI, DOMAIN_TYPE = "HALAB_LIBVIRT_URI", "HALAB_DOMAIN_TYPE"
_SYSTEM = "qemu:///system"


def hypervisor(topology: Topology, preview: bool) -> tuple[str, str]:
    """The libvirt URI and the domain type: those ./halab chose, else what it would choose for the stack."""
    uri = os.environ.get(URI) or _chosen(topology, preview)
    asked = os.environ.get(DOMAIN_TYPE) or topology.stack.hypervisor.domain_type
    return uri, _probed(preview) if asked == "auto" else asked


def _chosen(topology: Topology, preview: bool) -> str:
    from halab.hypervisors import choose
    from halab.workspace import Workspace

    try:
        return choose(Workspace(Path(__file__).resolve().parents[2], topology, state_folder())).uri
    except RefusedError:
        if preview:
            return _SYSTEM
        raise


def _probed(preview: bool) -> str:
    from halab.host.probe import virt_type

    # A probe boots a guest and keeps its answer: not for a look at a host that nothing was ever brought up on.
    if preview and not state_folder().exists():
        return "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "qemu"
    return virt_type(state_folder()).domain_type


def images(topology: Topology, preview: bool) -> dict[str, Image]:
    """The built images of the topology's nodes. A preview does without them; raises RefusedError otherwise."""
    return {name: _image(name, preview) for name in sorted({node.image for node in topology.nodes})}


def _image(name: str, preview: bool) -> Image:
    folder = cache.image_directory(name)
    manifest = cache.read_manifest(folder)
    if manifest is None or cache.damage(folder) is not None:
        if not preview:
            raise RefusedError(f"image {name}: not built for these package lists: run ./halab image build")
        pending = f"{spec.image_key(name)}-not-built"
        files = {file: ImageFile(folder / file, f"{pending}-{file}") for file in cache.FILES}
    else:
        files = {file: ImageFile(folder / file, manifest.files[file].sha256) for file in cache.FILES}
    return Image(files["root.qcow2"], files["vmlinux"], files["initrd"])


def keys(topology: Topology, preview: bool) -> Keys:
    """The stack's keys, made at the first up; a preview before that has some that nobody keeps."""
    stack = topology.stack.name
    if preview:
        return Keys.load(stack) or Keys.ephemeral(stack)
    found = Keys.create(stack)
    found.write_files(topology)
    return found
