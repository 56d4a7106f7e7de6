"""The program: a stack file becomes a cloud (`pulumi up -s collapsed`, or `./halab up`)."""

import sys
from pathlib import Path

import pulumi

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent / "src")]

from components.lab import Lab  # noqa: E402
from components.parts import endpoints  # noqa: E402
from components.plan import plan  # noqa: E402
from components.services import PARTS  # noqa: E402
from components.topology import derive  # noqa: E402
from components.variant import parse  # noqa: E402
from halab.program import hypervisor, images, keys  # noqa: E402

preview = pulumi.runtime.is_dry_run()
stack = parse(pulumi.get_stack(), pulumi.Config("halab").require_object("stack"))
topology = derive(stack)
uri, domain_type = hypervisor(topology, preview)
own = keys(topology, preview)
urls = endpoints(topology, PARTS)
lab = Lab(topology, plan(topology), own.secrets, images(topology, preview), uri, domain_type, urls, str(own.ca))
for name, value in lab.outputs.items():
    pulumi.export(name, value)
