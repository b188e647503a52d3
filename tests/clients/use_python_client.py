"""Uses the client that openapi-python-client generated. Usage: use_python_client.py URL KEY"""

import json
import sys
import time
from http import HTTPStatus
from typing import Any

from slipway_client import AuthenticatedClient
from slipway_client.api.api_keys import create_api_key, delete_api_key, list_api_keys
from slipway_client.api.builds import cancel_build, get_build, rebuild_image
from slipway_client.api.images import (
    change_image,
    create_image,
    delete_image,
    get_image,
    list_images,
)
from slipway_client.api.logs import get_log_events, get_log_json_lines, get_log_text
from slipway_client.api.users import who_am_i
from slipway_client.models.key_order_request import KeyOrderRequest
from slipway_client.models.order_request import OrderRequest
from slipway_client.models.order_request_build_args import OrderRequestBuildArgs
from slipway_client.models.patched_change_request import PatchedChangeRequest
from slipway_client.models.rebuild_request import RebuildRequest

DOCKERFILE, SLOW = sys.argv[3], sys.argv[4]


def ok(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == HTTPStatus(status), answer.content
    return answer.parsed


client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], timeout=60)
me = ok(who_am_i.sync_detailed(client=client))

args = OrderRequestBuildArgs()
args["GREETING"] = "hello"
order = OrderRequest(name="py-app", tag="1", dockerfile=DOCKERFILE, build_args=args)
made = ok(create_image.sync_detailed(client=client, body=order), 202)
assert made.user.username == me.username

text = ok(get_log_text.sync_detailed("py-app:1", client=client, follow=True))
assert "hello" in text, text
assert 'data: "built and pushed"' in ok(get_log_events.sync_detailed("py-app:1", client=client))
rows = ok(get_log_json_lines.sync_detailed("py-app:1", client=client, tail=1)).splitlines()
assert json.loads(rows[-1])["state"] == "succeeded"

listed = ok(list_images.sync_detailed(client=client, name="py-app"))
assert [each.image_id for each in listed.items] == [made.image_id]
image = ok(get_image.sync_detailed("py-app:1", client=client))
assert (image.status, image.public) == ("built and pushed", False)

changed = PatchedChangeRequest(public=True, readme="# hello")
assert ok(change_image.sync_detailed("py-app:1", client=client, body=changed)).public

again = RebuildRequest(no_cache=True)
assert ok(rebuild_image.sync_detailed("py-app:1", client=client, body=again), 202).build.number == 2
ok(get_log_text.sync_detailed("py-app:1", client=client, follow=True))
build = ok(get_build.sync_detailed("py-app:1", 2, client=client))
assert (build.status, build.no_cache) == ("succeeded", True)

slow = OrderRequest(name="slow-app", tag="1", dockerfile=SLOW)
ok(create_image.sync_detailed(client=client, body=slow), 202)
ok(cancel_build.sync_detailed("slow-app:1", client=client), 202)
while ok(get_image.sync_detailed("slow-app:1", client=client)).build.status != "cancelled":
    time.sleep(0.1)

key = ok(create_api_key.sync_detailed(client=client, body=KeyOrderRequest(name="py", admin=True)))
assert key.secret_key.startswith("cpk_")
assert "py" in [each.name for each in ok(list_api_keys.sync_detailed(client=client)).items]
assert ok(delete_api_key.sync_detailed(str(key.api_key_id), client=client)).deleted
assert ok(delete_image.sync_detailed("py-app:1", client=client)).deleted
missing = ok(get_image.sync_detailed("py-app:1", client=client), 404)
assert missing.code == "image_not_found"
sys.stdout.write("done\n")
