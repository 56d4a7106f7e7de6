"""cib_merge LIVE WANTED: the live CIB on stdout with WANTED's configuration in place of its own; its nodes stay."""

import sys
from xml.etree import ElementTree as ET

live, wanted = (ET.parse(path).getroot() for path in sys.argv[1:3])
configuration = live.find("configuration")
for section in wanted.find("configuration"):
    if section.tag == "nodes":
        continue
    old = configuration.find(section.tag)
    if section.tag == "crm_config" and old is not None:
        # Pacemaker keeps what it finds out for itself (dc-version, have-watchdog …) beside what was asked for.
        asked = {pair.get("name") for pair in section.iter("nvpair")}
        own = {"dc-version", "cluster-infrastructure", "have-watchdog", "last-lrm-refresh"}
        for pair in old.iter("nvpair"):
            if pair.get("name") in own - asked:
                section[0].append(pair)
    if old is None:
        configuration.append(section)
    else:
        position = list(configuration).index(old)
        configuration.remove(old)
        configuration.insert(position, section)
sys.stdout.write(ET.tostring(live, encoding="unicode"))
