"""Where in a record the objects are that cannot be kept, and which others that concerns.

A hole is allowed in what the user can see through: a list, an instance of a class of
theirs. An object of a library is all or nothing: a client without its socket is a trap.
"""

CONTAINERS = (dict, list, tuple, set, frozenset)
ATOMS = frozenset({int, float, bool, str, bytes, complex, type(None), bytearray})


class Trace:
    """The graph of what the pickler takes apart, from each object to all that refer to it.
    Objects are held, so that no id is used twice. What every process has one of, such as the
    user's namespace, which each function refers to, is not looked into."""

    def __init__(self, root, anchored):
        self.anchored = anchored
        self.parents = {}
        self.objects = {}
        self.link(root, (root,))

    def reduced(self, value, parts):
        """Notes what an object was taken apart into. Iterators are read, and given anew."""
        parts = list(parts) + [None] * (6 - len(parts))
        parts[3], parts[4] = (None if items is None else list(items) for items in parts[3:5])
        self.link(value, parts)
        parts[3], parts[4] = (None if items is None else iter(items) for items in parts[3:5])
        while parts[-1] is None:
            parts.pop()
        return tuple(parts)

    def link(self, parent, children):
        self.objects[id(parent)] = parent
        waiting = [(id(parent), child) for child in children]
        while waiting:
            above, value = waiting.pop()
            key = id(value)
            if type(value) in ATOMS or key in self.anchored:
                continue
            known = key in self.parents
            self.parents.setdefault(key, set()).add(above)
            if not known and type(value) in CONTAINERS:
                waiting += [(key, child) for child in contents(value)]
            self.objects[key] = value

    def above(self, keys):
        """All that refers to one of these, directly or not, with one hole that it leads to."""
        found = {}
        waiting = [(key, key) for key in keys]
        while waiting:
            key, hole = waiting.pop()
            for parent in self.parents.get(key, ()):
                if parent not in found and parent != key:
                    found[parent] = hole
                    waiting.append((parent, hole))
        return {key: (self.objects[key], hole) for key, hole in found.items()}


def contents(container):
    if type(container) is dict:
        return [part for item in container.items() for part in item]
    return list(container)


def touches(parts, keys, anchored, depth=5, most=1000):
    """Whether one of these is within reach in what an object was taken apart into."""
    level = [part for part in parts if part is not None]
    for _ in range(depth):
        below = []
        for value in level:
            if id(value) in anchored:
                continue
            if id(value) in keys:
                return True
            if type(value) in CONTAINERS and len(value) <= most:
                below += contents(value)
        level = below
    return False
