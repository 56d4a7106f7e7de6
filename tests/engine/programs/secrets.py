"""Secrets from configuration through inputs to outputs; the phase is read from a file beside the program."""

from pathlib import Path

import pulumi
from pulumi_command import local

config = pulumi.Config()
token = config.require_secret("token")
nodes = config.require_object("nodes")
phase = Path("phase").read_text().strip()

plain_or_secret = pulumi.Output.secret("was-plain") if phase == "secret" else "was-plain"
local.Command("in", create='printf %s "$TOKEN" | sha256sum', environment={"TOKEN": token})
local.Command("turn", create="true", stdin=plain_or_secret)
local.Command(
    "marked",
    create="echo from-the-output",
    opts=pulumi.ResourceOptions(additional_secret_outputs=["stdout"]),
)
local.Command(
    "assets",
    create=pulumi.Output.concat("echo ", str(len(nodes))),
    triggers=[pulumi.FileAsset("asset.txt"), pulumi.StringAsset("text")],
)
pulumi.export("token", token)
pulumi.export("nodes", nodes)
pulumi.export("mode", config.get("mode"))
