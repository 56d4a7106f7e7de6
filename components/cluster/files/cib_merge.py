"""cib_merge LIVE WANTED: the live CIB on stdout with WANTED's configuration in place of its own; its nodes stay."""

import sys
from xml.etree import ElementTree as ET

#: What Pacemaker finds out for itself and keeps among the properties.
OWN = {"dc-version", "cluster-infrastructure", "have-watchdog", "last-lrm-refresh"}


def merge(live: ET.Element, wanted: ET.Element) -> None:
    """Replace every section of `live` (a configuration element) but nodes by that of `wanted`."""
    for section in wanted:
        old = live.find(section.tag)
        if section.tag == "nodes":
            continue
        if old is None:
            live.append(section)
            continue
        if section.tag == "crm_config":
            section[0].extend(pair for pair in old.iter("nvpair") if pair.get("name") in OWN)
        position = list(live).index(old)
        live.remove(old)
        live.insert(position, section)


def main(live_path: str, wanted_path: str) -> None:
    live, wanted = ET.parse(live_path).getroot(), ET.parse(wanted_path).getroot()
    old, new = live.find("configuration"), wanted.find("configuration")
    if old is None or new is None:
        sys.exit("no configuration element")
    merge(old, new)
    sys.stdout.write(ET.tostring(live, encoding="unicode"))


if __name__ == "__main__":
    main(*sys.argv[1:])
