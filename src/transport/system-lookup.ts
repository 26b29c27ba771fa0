import { lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';

type Callback = Parameters<LookupFunction>[2];

/**
 * Resolves names by the system, with one question for each name at a time. Node asks in two threads, and a question to which no name
 * server responds takes one for ten seconds or more. Otherwise requests to one such upstream would keep all others from being found.
 * @param ask calls back later, never at once
 */
export function createSystemLookup(ask: LookupFunction): LookupFunction {
  const waiting = new Map<string, Callback[]>();
  return (hostname, options, callback) => {
    const { family, hints, all, order } = options;
    const question = JSON.stringify([hostname, family, hints, all, order]);
    const asked = waiting.get(question);
    if (asked !== undefined) {
      asked.push(callback);
      return;
    }
    const callbacks = [callback];
    ask(hostname, options, (...found) => {
      waiting.delete(question);
      for (const each of callbacks) each(...found);
    });
    waiting.set(question, callbacks);
  };
}

/** For all connections, so that pools and tunnels share a question. */
export const systemLookup = createSystemLookup(lookup);
