"""The Pulumi CLI's event log as halab's own events; the records were written by Pulumi 3.272."""

from __future__ import annotations

from typing import Any

from halab.display.progress import Progress
from halab.engines.cli import events, summary

DOMAIN = "urn:pulumi:tiny::halab::halab:lab:Lab$halab:libvirt:Machine$libvirt:index/domain:Domain::controller-3-domain"
STACK = "urn:pulumi:tiny::halab::pulumi:pulumi:Stack::halab-tiny"


def record(at: int, kind: str, urn: str = DOMAIN, op: str = "create", **more: Any) -> dict[str, Any]:
    type_ = urn.split("::")[2].rpartition("$")[2]
    return {"sequence": 1, "timestamp": at, kind: {"metadata": {"op": op, "urn": urn, "type": type_}, **more}}


END: dict[str, Any] = {
    "sequence": 1269,
    "timestamp": 1795266182,
    "summaryEvent": {"durationSeconds": 24, "resourceChanges": {"create": 24}, "result": "succeeded"},
}


def test_a_created_domain_is_a_step_with_its_seconds() -> None:
    progress = Progress(1795266158.0)
    for event in events([record(1795266175, "resourcePreEvent"), record(1795266178, "resOutputsEvent"), END]):
        progress.feed(event)
    assert [(step.label, step.start, step.seconds) for step in progress.finished] == [("VM controller-3", 17, 3)]


def test_unchanged_resources_are_no_steps() -> None:
    progress = Progress(0.0)
    for event in events([record(1, "resourcePreEvent", op="same"), record(1, "resOutputsEvent", op="same")]):
        progress.feed(event)
    assert progress.finished == []


def test_a_failed_resource_is_a_failure_of_the_run() -> None:
    words = {"severity": "error", "urn": DOMAIN, "message": "sending file: no route\n"}
    raw = [record(1, "resourcePreEvent"), record(9, "resOpFailedEvent"), {"timestamp": 9, "diagnosticEvent": words}]
    progress = Progress(0.0)
    for event in events(raw):
        progress.feed(event)
    assert [(failed.urn, failed.seconds) for failed in progress.failed] == [(DOMAIN, 8)]
    found = summary(raw, "up", 255)
    assert not found.ok
    assert [(failure.urn, failure.error) for failure in found.failures] == [(DOMAIN, "sending file: no route")]


def test_a_cli_that_ends_badly_without_a_word_is_a_failure_too() -> None:
    found = summary([], "up", 255)
    assert not found.ok
    assert "255" in found.failures[0].error


def test_an_error_that_pulumi_recovered_from_is_none() -> None:
    raw = [{"timestamp": 1, "diagnosticEvent": {"severity": "error", "message": "retried"}}, END]
    assert summary(raw, "up", 0).ok
    assert summary(raw, "up", 0).counts == {"create": 24}
