import { parseArgs } from 'node:util';
import { createPeers } from './all-peers.ts';
import { type Bounds, type Case, listCases } from './cases.ts';
import { type Comparison, SHORT, USUAL_CASES } from './compare-builds.ts';

export const USAGE = `Usage: npm run bench -- [options]

Compares cambist with other proxies. All run at the same time and are measured in turn.
  --case NAME        run only this case; can be repeated
  --seconds N        seconds for each proxy in each round (default: 1)
  --rounds N         number of rounds (default: 6)
  --quick            a smoke test with short rounds; do not quote its figures
  --node FILE        run the proxies on this Node (default: the Node that runs the bench)
  --json             print JSON

  --against BUILD    compare this build with another one only: a git revision, or a file main.js.
                     The exit code is 1 if this build takes more CPU: more than 10 %, with 95 % confidence
`;

const FULL: Bounds = { rounds: 6, seconds: 1, warmSeconds: 1, memoryRequests: 1_000_000 };
const QUICK: Bounds = { rounds: 1, seconds: 0.3, warmSeconds: 0.2, memoryRequests: 10_000 };

/** The work that the arguments ask for. */
export type Job =
  | { readonly do: 'help' }
  | ({ readonly do: 'compare' } & Comparison)
  | {
      readonly do: 'measure';
      readonly cases: readonly Case[];
      readonly bounds: Bounds;
      readonly node: string;
      readonly json: boolean;
    };

/** @throws Error for an invalid argument */
export function readArguments(args: string[]): Job {
  const { values } = parseArgs({
    args,
    options: {
      case: { type: 'string', multiple: true },
      seconds: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      node: { type: 'string', default: process.execPath },
      json: { type: 'boolean', default: false },
      against: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return { do: 'help' };
  const { node, json, against } = values;
  const preset = against === undefined ? FULL : SHORT;
  const { seconds, rounds, ...bounds } = values.quick ? QUICK : preset;
  const chosen: Bounds = {
    ...bounds,
    seconds: values.seconds === undefined ? seconds : positive('--seconds', values.seconds),
    rounds: values.rounds === undefined ? rounds : Math.ceil(positive('--rounds', values.rounds)),
  };
  const cases = listCases(createPeers());
  const names = values.case ?? (against === undefined ? cases.map(({ name }) => name) : USUAL_CASES);
  const unknown = names.find((name) => !cases.some((known) => known.name === name));
  if (unknown !== undefined) {
    throw new Error(`unknown case "${unknown}": use ${cases.map(({ name }) => name).join(', ')}`);
  }
  if (against !== undefined) return { do: 'compare', against, names, bounds: chosen, node, json };
  const wanted = cases.filter(({ name }) => names.includes(name));
  return { do: 'measure', cases: wanted, bounds: chosen, node, json };
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${option} must be greater than 0`);
  return value;
}
