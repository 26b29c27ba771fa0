/**
 * Loaded into the built program: timers that are set in its own code and in its packages go off so many times sooner, and
 * the limits that its listeners set on connections are written to standard error, since Node's own timers cannot be hurried.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Server } from 'node:http';

/** Node's and undici's usual limit of five minutes becomes three seconds. */
const TIMES = 100;

const { setTimeout: after, setInterval: every } = globalThis;
Object.assign(globalThis, {
  setTimeout: (run: () => void, ms = 0, ...more: []) => after(run, ms / TIMES, ...more),
  setInterval: (run: () => void, ms = 0, ...more: []) => every(run, ms / TIMES, ...more),
});

subscribe('http.server.request.start', (message) => {
  const { timeout, requestTimeout, headersTimeout } = (message as { server: Server }).server;
  process.stderr.write(`${JSON.stringify({ timeout, requestTimeout, headersTimeout })}\n`);
});
