# Behind the wall, where a RUN step sees nothing of /b. First argument: what to do.
#   whole   build, and commit straight into a layout: the fastest for a small image
#   layers  build, then export what the layout does not have yet
#   tidy    remove what killed builds left
# `entered` tells that the wall stood, `id` that the build is done; without that file the id would
# end the owner's log.
: >/b/attempt/entered
policy=(--signature-policy /etc/containers/policy.json)
store=(--root /b/owner/store --runroot /b/attempt/run
  --storage-driver overlay --storage-opt overlay.imagestore=/b/bases)
# What the owner may pull from our own registry, where there was any.
[ -d /b/owned-bases ] && store+=(--storage-opt overlay.imagestore=/b/owned-bases)
buildah() {
  command buildah "${store[@]}" "$@"
}
build() {
  buildah build --isolation rootless --runtime runc --network host --layers --force-rm \
    --pull-never "${policy[@]}" --iidfile /b/attempt/id --file /b/attempt/Dockerfile "$@" /b/context
}
task=$1
shift
case $task in
  whole) build --disable-compression=false --tag oci:/b/attempt/layout "$@" ;;
  layers) build "$@" && buildah push --quiet "${policy[@]}" "$(</b/attempt/id)" oci:/b/attempt/layout ;;
  tidy) buildah rm --all ;;
esac
