"""Settings of a cluster on which everything goes wrong: a bell that is mostly not heard, and leases
so short that builds of dead workers go on soon."""

import os
from dataclasses import replace
from datetime import datetime, timedelta

from django.utils import timezone

from config.settings import *  # noqa: F403
from config.settings import BUILDS, CHANNEL_LAYERS, ENV

BUILDS = replace(BUILDS, lease_seconds=int(os.environ["FAULTS_LEASE"]), tick_seconds=1)
if ENV.redis_url:
    CHANNEL_LAYERS["default"]["BACKEND"] = "tests.faults.bell.LossyLayer"
if SKEW := float(os.environ.get("FAULTS_SKEW", "0")):
    true_now = timezone.now

    def wrong_now() -> datetime:
        return true_now() + timedelta(seconds=SKEW)

    timezone.now = wrong_now
