"""Static files with a hash of their content in their names, so that browsers may cache them."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    """JavaScript modules import each other by these names too, so no page mixes two versions."""

    support_js_module_import_aggregation = True
