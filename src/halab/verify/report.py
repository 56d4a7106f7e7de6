"""What a verification found: one finding per question, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lxml import etree


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is the question, `evidence` what was seen; `seconds` from asking to knowing.

    `by_design`: the seed's section by which this architecture does not do it; such a finding is told, not failed.
    """

    check: str
    ok: bool
    evidence: str
    seconds: float = 0.0
    by_design: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one verification, in the order asked; one without findings is not ok."""

    stack: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return bool(self.findings) and all(finding.ok for finding in self.findings)

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.ok)

    def junit(self) -> bytes:
        """JUnit XML: a testsuite with a testcase per finding, the evidence in system-out or failure.

        What an architecture does not do by design is skipped with the seed's section as the message.
        """
        suite = etree.Element(
            "testsuite",
            name=f"verify {self.stack}",
            tests=str(len(self.findings)),
            failures=str(len(self.failed)),
            skipped=str(sum(bool(finding.by_design) for finding in self.findings)),
        )
        for finding in self.findings:
            case = etree.SubElement(
                suite, "testcase", classname=self.stack, name=finding.check, time=f"{finding.seconds:.3f}"
            )
            if finding.by_design:
                etree.SubElement(case, "skipped", message=_printable(f"by design: {finding.by_design}"))
            kind = "system-out" if finding.ok else "failure"
            etree.SubElement(case, kind).text = _printable(finding.evidence)
        return etree.tostring(suite, xml_declaration=True, encoding="UTF-8", pretty_print=True)

    def write_junit(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.junit())


def _printable(text: str) -> str:
    """XML 1.0 has no control characters other than tab and newline."""
    return "".join(char for char in text if char in "\t\n" or ord(char) >= 32)


def all_of(check: str, problems: Iterable[str], evidence: str) -> Finding:
    """Passed with the evidence where there are no problems, else failed with them."""
    found = tuple(problems)
    return Finding(check, not found, "; ".join(found) if found else evidence)
