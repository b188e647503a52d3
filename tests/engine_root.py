"""The engine root that all tests share: the checkout's, or the one that the environment names."""

import os
from pathlib import Path

from builds.engine_root import EngineRoot

VARIABLE = "SLIPWAY_ENGINE_ROOT"
CHECKOUT = Path(__file__).resolve().parent.parent
os.environ.setdefault(VARIABLE, str(CHECKOUT / "var" / "engine-root" / "current"))
ENGINE_ROOT = EngineRoot(Path(os.environ[VARIABLE]))
