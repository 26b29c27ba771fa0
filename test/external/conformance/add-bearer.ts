/** Loaded into the suite, which sends no bearer itself: each request that it makes gets one, whoever in it makes it. */
import { subscribe } from 'node:diagnostics_channel';

const value = `Bearer ${process.env.CONFORMANCE_BEARER}`;

interface FetchCreated {
  request: { addHeader(name: string, value: string): void };
}

// Node's own fetch and the package undici both tell this channel of each request before it goes.
subscribe('undici:request:create', (message) => (message as FetchCreated).request.addHeader('authorization', value));

interface HttpCreated {
  request: { setHeader(name: string, value: string): void };
}

subscribe('http.client.request.created', (message) =>
  (message as HttpCreated).request.setHeader('authorization', value),
);
