import { lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';

type Callback = Parameters<LookupFunction>[2];

/**
 * Resolves names by the system, with one question for each name at a time. Node has two threads for this by default, and a question
 * without a response keeps its thread for ten seconds or more. Requests to one such upstream would otherwise delay all other lookups.
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

/** All connections use it, so that pools and tunnels share a question. */
export const systemLookup = createSystemLookup(lookup);
