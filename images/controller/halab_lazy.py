"""Keystone's SAML provider is loaded at its first use instead of at every start.

`keystone.federation.idp` parses the XML schemas of SAML when imported, which is a third of the time that keystone and
each `keystone-manage` need to start. Nothing else changes: the first attribute taken from the module loads it.
Run by the `.pth` file beside it in every Python of the guest.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import LazyLoader


class LazyFinder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "keystone.federation.idp":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


sys.meta_path.insert(0, LazyFinder)
