/** Preloaded into the suite, which sends no bearer token. Adds a token to every request. */
import { subscribe } from 'node:diagnostics_channel';

const value = `Bearer ${process.env.CONFORMANCE_BEARER}`;

interface FetchCreated {
  request: { addHeader(name: string, value: string): void };
}

// Node's fetch and the package undici publish each request to this channel before sending it.
subscribe('undici:request:create', (message) => (message as FetchCreated).request.addHeader('authorization', value));

interface HttpCreated {
  request: { setHeader(name: string, value: string): void };
}

subscribe('http.client.request.created', (message) =>
  (message as HttpCreated).request.setHeader('authorization', value),
);
