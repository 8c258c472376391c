"""Name -> thing, for everything a plug-in may add. One file registers itself; nothing lists the files.

Built-ins are imported from the modules named at construction, third parties from the entry points of `Registry.group`
(recap.tasks, recap.policies, recap.value_models, recap.presets, recap.steps, ...), both on first use, so that
`recap --help` pays for none of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from recap.errors import ConfigError, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """A registry of one kind of thing.

    Example:
        >>> TASKS: Registry[str] = Registry("task")
        >>> TASKS.add("fold", "a task")
        >>> TASKS.get("fold")
        'a task'
    """

    def __init__(self, kind: str, *, packages: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self._packages = packages
        self._items: dict[str, T] = {}
        self._discovered = False

    @property
    def group(self) -> str:
        """The entry-point group of third parties: the kind in the plural.

        Example:
            >>> Registry("value model").group, Registry("policy").group
            ('recap.value_models', 'recap.policies')
        """
        plural = self.kind.replace(" ", "_") + "s"
        return f"recap.{plural.removesuffix('ys') + 'ies' if plural.endswith('ys') else plural}"

    def add(self, name: str, item: T) -> None:
        """Registers `item`; a second item of the same name is an error, not an override."""
        if name in self._items:
            raise ConfigError(f"{self.kind} '{name}' is registered twice")
        self._items[name] = item

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""

        def keep(item: T) -> T:
            self.add(name, item)
            return item

        return keep

    def get(self, name: str) -> T:
        """The item called `name`; UnknownName with the nearest spelling otherwise."""
        self._discover()
        try:
            return self._items[name]
        except KeyError:
            raise UnknownName.among(self.kind, name, self._items) from None

    def names(self) -> list[str]:
        """All names, sorted."""
        self._discover()
        return sorted(self._items)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        # 30 ms: a run of steps that are registered already, and `recap --help`, do without.
        from importlib.metadata import entry_points

        for package_name in self._packages:
            package = importlib.import_module(package_name)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package_name}.{module.name}")
        for entry in entry_points(group=self.group):
            entry.load()
