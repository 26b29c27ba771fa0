import type { Check, SuiteResult } from './suite.ts';

/** What is not the same in two runs of one server either: names that it makes up, times, ports. */
const VOLATILE: readonly [RegExp, string][] = [
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi, '<uuid>'],
  [/\b127\.0\.0\.1:\d+/g, '<host>'],
  [/\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/g, '<time>'],
  // The suite numbers some requests by the clock.
  [/\b1[78]\d{11}\b/g, '<milliseconds>'],
  // Sealed by the server together with its end.
  [/\bv1\.[\w-]+\.[\w-]+/g, '<sealed>'],
  // Numbered as they arrive, and streams that are opened at once arrive in any order.
  [/"event":\{"id":"\d+"/g, '"event":{"id":"<number>"'],
  // A server that sends now and then has sent one more, or not yet. What must come, each scenario checks by itself.
  [/"messagesValidated":\d+/g, '"messagesValidated":"<number>"'],
  // Said by whoever is next on the wire, about that connection.
  [/"keep-alive":"timeout=\d+",?/g, ''],
];

/** Whoever refuses a foreign Host writes the refusal: the server, or cambist, which then has no route for it. */
const OWN_WORDS = 'localhost-host-rebinding-rejected';

/** How a server's report differs from its report through a proxy: a line each, empty where it does not. */
export function differences(direct: SuiteResult, proxied: SuiteResult): string[] {
  const found: string[] = [];
  for (const scenario of new Set([...direct.scenarios.keys(), ...proxied.scenarios.keys()])) {
    const [before, after] = [direct.scenarios.get(scenario) ?? [], proxied.scenarios.get(scenario) ?? []];
    for (let i = 0; i < Math.max(before.length, after.length); i += 1) {
      const [left, right] = [before[i], after[i]].map(asText) as [string, string];
      if (left === right) continue;
      const { id = 'a check' } = before[i] ?? after[i] ?? {};
      found.push(`${scenario}: ${id}\n    directly        ${left}\n    through cambist ${right}`);
    }
  }
  return found;
}

function asText(check: Check | undefined): string {
  if (check === undefined) return 'was not made';
  const { id, name, status, errorMessage, details } = check;
  const told = id === OWN_WORDS ? { ...(details as object), body: undefined } : details;
  const text = JSON.stringify({ id, name, status, errorMessage, details: told });
  return VOLATILE.reduce((result, [pattern, stands]) => result.replace(pattern, stands), text);
}

/** How many checks came out how, as in `162 SUCCESS, 30 FAILURE`. */
export function tally({ scenarios }: SuiteResult): string {
  const counts = new Map<string, number>();
  for (const { status } of [...scenarios.values()].flat()) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} ${status}`).join(', ');
}
