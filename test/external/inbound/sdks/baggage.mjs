// Passes values of baggage through OpenTelemetry: one JSON string a line in, one out.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const load = createRequire(`${process.argv[2]}/`);
const { ROOT_CONTEXT, defaultTextMapGetter, defaultTextMapSetter } = load('@opentelemetry/api');
const { W3CBaggagePropagator } = load('@opentelemetry/core');

const propagator = new W3CBaggagePropagator();
for (const line of readFileSync(0, 'utf8').trimEnd().split('\n')) {
  const sent = {};
  const context = propagator.extract(ROOT_CONTEXT, { baggage: JSON.parse(line) }, defaultTextMapGetter);
  propagator.inject(context, sent, defaultTextMapSetter);
  console.log(JSON.stringify(sent.baggage ?? ''));
}
