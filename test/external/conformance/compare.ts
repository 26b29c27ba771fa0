import type { Check, SuiteResult } from './suite.ts';

/** Values that differ between two runs of the same server: generated names, times, ports. */
const VOLATILE: readonly [RegExp, string][] = [
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi, '<uuid>'],
  [/\bhttps?:\/\/127\.0\.0\.1:\d+/g, '<origin>'],
  [/\b127\.0\.0\.1:\d+/g, '<host>'],
  [/\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/g, '<time>'],
  // The suite uses the clock for the ids of some requests.
  [/\b1[78]\d{11}\b/g, '<milliseconds>'],
  // Sealed by the server together with an expiry time.
  [/\bv1\.[\w-]+\.[\w-]+/g, '<sealed>'],
  // Numbered in the order of arrival, which varies for concurrent streams.
  [/"event":\{"id":"\d+"/g, '"event":{"id":"<number>"'],
  // The number of periodic messages varies. Each scenario checks the required messages itself.
  [/"messagesValidated":\d+/g, '"messagesValidated":"<number>"'],
  // Headers of the hop, not of the server.
  [/"keep-alive":"timeout=\d+",?/g, ''],
  [/"connection":"keep-alive",?/g, ''],
  // deploy/dataplanes/envoy.md names it.
  [/"server":"envoy",?/g, ''],
  // The SDK's server sends a length if all events of a stream are ready when it sends the headers.
  [/"content-length":"\d+",("content-type":"text\/event-stream")/g, '$1'],
  [/("content-type":"text\/event-stream"[^{}]*)"transfer-encoding":"chunked",/g, '$1'],
];

/** This check records the refusal of a foreign Host. The server refuses it directly; cambist refuses it because no route matches. */
const REFUSED_BY_EITHER = 'localhost-host-rebinding-rejected';

/** The differences between the reports with and without cambist, one text for each. */
export function differences(direct: SuiteResult, proxied: SuiteResult): string[] {
  const found: string[] = [];
  for (const scenario of new Set([...direct.scenarios.keys(), ...proxied.scenarios.keys()])) {
    const [before, after] = [direct.scenarios.get(scenario) ?? [], proxied.scenarios.get(scenario) ?? []];
    for (let i = 0; i < Math.max(before.length, after.length); i += 1) {
      const [left, right] = [before[i], after[i]].map(asText) as [string, string];
      if (left === right) continue;
      const { id = 'unknown check' } = before[i] ?? after[i] ?? {};
      found.push(`${scenario}: ${id}\n    directly        ${left}\n    through cambist ${right}`);
    }
  }
  return found;
}

function asText(check: Check | undefined): string {
  if (check === undefined) return 'missing';
  const { id, name, status, errorMessage, details } = check;
  const compared = id === REFUSED_BY_EITHER ? { ...(details as object), body: undefined } : details;
  const text = JSON.stringify({ id, name, status, errorMessage, details: compared });
  return VOLATILE.reduce((result, [pattern, placeholder]) => result.replace(pattern, placeholder), text);
}

/**
 * Takes out the check whose foreign Host the suite's client also names in its TLS handshake. There is then no response to compare,
 * because the handshake is refused.
 * @returns the results without it, and its error
 */
export function withoutForeignHost(run: SuiteResult): { rest: SuiteResult; error: string } {
  let error = '';
  const scenarios = new Map<string, readonly Check[]>();
  for (const [scenario, checks] of run.scenarios) {
    error += checks.find(({ id }) => id === REFUSED_BY_EITHER)?.errorMessage ?? '';
    scenarios.set(
      scenario,
      checks.filter(({ id }) => id !== REFUSED_BY_EITHER),
    );
  }
  return { rest: { ...run, scenarios }, error };
}

/** Counts the checks by status, such as `162 SUCCESS, 30 FAILURE`. */
export function tally({ scenarios }: SuiteResult): string {
  const counts = new Map<string, number>();
  for (const { status } of [...scenarios.values()].flat()) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} ${status}`).join(', ');
}
