"""The ASGI application: HTTP goes to Django, websockets to the consumers."""

import os
import warnings

import django

# Files of this process are readable by its user only: uploads, contexts, logs, the database.
os.umask(0o077)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # noqa: TID251
django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter  # noqa: E402

from config.routing import websockets  # noqa: E402
from webserver.handler import Handler  # noqa: E402

# Caused by whitenoise's static files. They are small, so reading each completely is fine.
warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")
application = ProtocolTypeRouter({"http": Handler(), "websocket": websockets})
