"""The application that daphne serves: http to Django, websockets to the consumers."""

import os
import warnings

import django

# What this process writes is for its user alone: uploads, contexts, logs, the database.
os.umask(0o077)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # noqa: TID251
django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter  # noqa: E402

from config.routing import websockets  # noqa: E402
from webserver.handler import Handler  # noqa: E402

# Of whitenoise's static files, which are small: each is read whole.
warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")
application = ProtocolTypeRouter({"http": Handler(), "websocket": websockets})
