"""Loaded by moto's server as Python starts (PYTHONPATH): AWS says of each task definition when it was registered, moto doesn't. Without that
date Pinion takes the outcome of a revision for unknown, and writes nothing."""

import functools
import time

try:
    from moto.ecs import models
except ImportError:
    models = None

if models is not None:
    original = models.TaskDefinition.__init__

    @functools.wraps(original)
    def dated(self, *arguments, **named):
        original(self, *arguments, **named)
        self.registered_at = time.time()

    models.TaskDefinition.__init__ = dated
