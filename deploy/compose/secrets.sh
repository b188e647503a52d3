#!/bin/sh
# Creates the secrets that compose.yaml uses. Existing ones are kept.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
random() { head -c 48 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
once() { [ -e "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"; }
once database_password "$(random)"
once database_url "postgres://slipway:$(cat secrets/database_password)@database/slipway"
once secret_key "$(random)"
once metrics_token "$(random)"
once storage_key "slipway,$(random)"
once storage_credentials "$(printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
  "$(cut -d, -f1 secrets/storage_key)" "$(cut -d, -f2 secrets/storage_key)")"
# Readable by everybody, because the containers' user has another id than this user.
chmod 0755 secrets
chmod 0444 secrets/*
