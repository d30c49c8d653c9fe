"""Fails when a test was skipped: what is not run proves nothing. Usage: skips.py JUNIT_XML."""

import sys
from xml.etree import ElementTree as Xml

report = Xml.parse(sys.argv[1])  # noqa: S314 - written by pytest a moment ago
skipped = [
    f"{case.get('classname')}::{case.get('name')}: {reason.get('message')}"
    for case in report.iter("testcase")
    for reason in case.iter("skipped")
]
if skipped:
    sys.exit("\n  ".join([f"{len(skipped)} skipped, which CI does not allow:", *skipped]))
