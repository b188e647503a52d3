"""What a failure code means to an operator, and what to do about it."""

HINTS = {
    "base": "A base image was not found or could not be pulled.",
    "build-args": "A build argument would configure the builder, which is not allowed.",
    "build-user": "This machine has no such user to build as: run the setup again.",
    "context": "What was sent as the context is no proper archive.",
    "deadline": "It took longer than SLIPWAY_DEADLINE allows.",
    "died": "The engine ended without a verdict: see the log.",
    "disk": "The disk of the build or of the machine is full.",
    "dockerfile": "The Dockerfile asks for what is not allowed here.",
    "export": "The image could not be written: see the disk.",
    "internal": "A fault of Slipway: the server's log has the traceback under this build's id.",
    "interrupted": "Slipway was stopped; the build has started again by itself.",
    "memory": "It needed more memory than a build may have.",
    "push": "The image was made and could not be pushed: see the registry.",
    "registry": "The registry did not answer as it should.",
    "step": "A command of the Dockerfile failed: its log says which.",
    "storage": "What was sent could not be read from the storage of files: see the system page.",
    "store": "The engine could not make its store: see the disk.",
    "syntax": "The Dockerfile is wrong.",
    "wall": "The sandbox could not be set up on this machine.",
    "worker-lost": "The worker died under it; it starts again, at most three times.",
}
