"""`python -m bench`: runs every benchmark; one JSON object a line."""

import json
import tempfile
from pathlib import Path

from bench import builds, logs, pages, starts, uploads
from bench.figures import Figure
from tests.instance import Instance


def tell(figure: Figure) -> None:
    print(json.dumps(figure.row()), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        instance = Instance(Path(folder) / "data", engine="buildah")
        for figure in starts.run(instance):
            tell(figure)
        try:
            for bench in (uploads, builds, pages):
                for figure in bench.run(instance):
                    tell(figure)
        finally:
            instance.stop()
        for figure in logs.run(Path(folder)):
            tell(figure)


main()
