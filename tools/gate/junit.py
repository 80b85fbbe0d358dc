"""The report as JUnit XML: a test case per verdict, which CI systems know how to show."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Tree

from attnc.tools.gate.report import GateReport, Result
from attnc.tools.gate.words import sentence

#: What XML 1.0 cannot hold, escaped or not.
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: GateReport) -> str:
    """The document. Failed is `failure`, no verdict is `error`, skipped is `skipped`."""
    suites = Tree.Element("testsuites", name="attnc gate")
    for case in report.cases:
        results = [result for result in report.results if result.case == case.name]
        suite = Tree.SubElement(
            suites,
            "testsuite",
            name=_clean(case.name),
            tests=str(len(results)),
            failures=str(_count(results, "failed")),
            errors=str(_count(results, "no-verdict")),
            skipped=str(_count(results, "skipped")),
            timestamp=report.measured,
        )
        for result in results:
            _add(suite, result)
    Tree.indent(suites)
    return Tree.tostring(suites, encoding="unicode", xml_declaration=False).join(
        ("<?xml version='1.0' encoding='utf-8'?>\n", "\n")
    )


def _count(results: list[Result], status: str) -> int:
    return sum(result.status == status for result in results)


def _add(suite: Tree.Element, result: Result) -> None:
    test = Tree.SubElement(
        suite,
        "testcase",
        classname=_clean(result.case),
        name=f"{result.metric} ({result.kind})",
    )
    said = _clean(sentence(result))
    if result.status == "failed":
        Tree.SubElement(test, "failure", type="regression", message=said).text = said
    elif result.status == "no-verdict":
        Tree.SubElement(test, "error", type="no-verdict", message=said).text = said
    elif result.status == "skipped":
        Tree.SubElement(test, "skipped", message=said)
    elif said:
        Tree.SubElement(test, "system-out").text = said


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
