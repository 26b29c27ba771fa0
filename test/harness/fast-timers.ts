/**
 * Preloaded into the built program. Timers of its code and its packages fire 100 times sooner. Node's own timers cannot be
 * accelerated, so the connection limits of the listeners are written to standard error.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Server } from 'node:http';

/** Five minutes, a common default of Node and undici, become three seconds. */
const ACCELERATION = 100;

const { setTimeout: realSetTimeout, setInterval: realSetInterval } = globalThis;
Object.assign(globalThis, {
  setTimeout: (run: () => void, ms = 0, ...more: []) => realSetTimeout(run, ms / ACCELERATION, ...more),
  setInterval: (run: () => void, ms = 0, ...more: []) => realSetInterval(run, ms / ACCELERATION, ...more),
});

subscribe('http.server.request.start', (message) => {
  const { timeout, requestTimeout, headersTimeout } = (message as { server: Server }).server;
  process.stderr.write(`${JSON.stringify({ timeout, requestTimeout, headersTimeout })}\n`);
});
