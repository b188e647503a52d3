"""What an engine keeps only so that the next build is faster, and dropping it for want of room."""

import shutil
from dataclasses import dataclass

from builds.engines.buildah.bases import Bases
from builds.engines.buildah.layers import Layers
from builds.engines.buildah.stores import BASES, Stores
from builds.engines.sandbox.folders import Folders
from builds.engines.sandbox.wall import Account


@dataclass(frozen=True, slots=True)
class Caches:
    """Owners' stores, layers and bases, and the bases of all."""

    folders: Folders
    stores: Stores
    layers: Layers
    bases: Bases

    def make_room(self, free_bytes: int, account: Account) -> None:
        """Drop until that much is free: the owner's longest unused first, the shared bases last."""

        def short() -> bool:
            return shutil.disk_usage(self.folders.root).free < free_bytes

        if not short():
            return
        for owner_id in self.stores.owners():
            with self.stores.alone(owner_id) as alone:
                if alone and short():
                    self.stores.drop(owner_id, account)
                    self.bases.drop(account, owner_id)
                    self.layers.forget(owner_id)
        with self.stores.alone(BASES) as alone:
            if alone and short():
                self.bases.drop(account)
