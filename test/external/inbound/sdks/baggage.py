"""Passes values of baggage through OpenTelemetry: one JSON string a line in, one out."""

import json
import logging
import sys

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

logging.disable(logging.CRITICAL)
propagator = W3CBaggagePropagator()
for line in sys.stdin:
    sent = {}
    propagator.inject(sent, propagator.extract({"baggage": json.loads(line)}, Context()))
    print(json.dumps(sent.get("baggage", "")))
