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
from components.variant import StackError, parse  # noqa: E402
from halab.errors import HalabError  # noqa: E402
from halab.program import hypervisor, images, keys  # noqa: E402

name, preview = pulumi.get_stack(), pulumi.runtime.is_dry_run()
try:
    stack = parse(name, pulumi.Config("halab").require_object("stack"), f"stacks/Pulumi.{name}.yaml")
    topology = derive(stack)
    uri, domain_type = hypervisor(topology, preview)
    built, own = images(topology, preview), keys(topology, preview)
except (StackError, HalabError) as error:
    raise pulumi.RunError(str(error)) from None
urls = endpoints(topology, PARTS)
lab = Lab(topology, plan(topology), own.secrets, built, uri, domain_type, urls, str(own.ca))
for output, value in lab.outputs.items():
    pulumi.export(output, value)
