"""How static files are kept: under names that bear their content, so that browsers keep them."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    """Modules import each other by those names too: no page mixes two versions."""

    support_js_module_import_aggregation = True
