import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { DecisionReport, DecisionRow } from '../admin/decision-report.ts';
import type { Listen } from '../config/addresses.ts';
import { printable, printableJson } from '../observability/printable.ts';
import { nameOfListen, otherServer, requestAdmin } from './admin-request.ts';
import { type Command, configFile, EXIT, failed, listenFrom, messageOf, UsageError } from './command.ts';
import { loadOrReport } from './report-problems.ts';
import { USAGES } from './usages.ts';

const POLL_INTERVAL_MS = 300;

/** Shows the last decisions of a running cambist, and follows them. */
export const tail: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.tail.flags });
  const wanted = wantedBy(values);
  // With --admin, no config is read: the one on disk may be broken while a running cambist keeps the previous one.
  const admin = values.admin === undefined ? await configured(values) : listenFrom(values.admin, '--admin:');
  if (admin === undefined) return EXIT.failed;
  const print = (row: DecisionRow): void => console.log(values.json === true ? printableJson(row) : toText(row));
  let known = 0;
  try {
    do {
      const { last, missed, decisions } = await fetchDecisions(admin, known);
      if (known > 0 && missed > 0)
        console.error(`${missed} decisions are missing: they came faster than they were read`);
      const shown = decisions.filter(wanted);
      for (const row of shown) print(row);
      if (shown.length === 0 && values.follow !== true)
        console.error(last === 0 ? 'no request has arrived yet' : 'no recent request matches');
      known = last;
      if (values.follow === true) await delay(POLL_INTERVAL_MS);
    } while (values.follow === true);
  } catch (error) {
    return failed(`cambist tail: ${messageOf(error)}`);
  }
  return EXIT.done;
};

/** The address of the config. @returns undefined if it is invalid */
async function configured({ config: file, route }: { readonly config?: string; readonly route?: string }) {
  const loaded = await loadOrReport(configFile(file));
  if (loaded === undefined) {
    console.error('cambist tail: to read a running cambist without the config, add --admin with its address');
    return undefined;
  }
  const { admin, routes } = loaded.config;
  if (route !== undefined && !routes.some(({ name }) => name === route))
    console.error(`the config has no route "${route}": known routes are ${routes.map(({ name }) => name).join(', ')}`);
  return admin;
}

interface Wanted {
  readonly agent?: string;
  readonly route?: string;
  /** A status as 502, a class as 5xx, or an error code. */
  readonly code?: string;
}

function wantedBy({ agent, route, code }: Wanted): (row: DecisionRow) => boolean {
  if (code !== undefined && !/^(?:[1-5](?:\d\d|xx)|ERR_[A-Z_]+)$/.test(code)) {
    throw new UsageError('--code takes a status (403), a class of statuses (5xx) or an error code (ERR_…)');
  }
  const status = code?.startsWith('ERR_') === false ? code.replace('xx', '') : undefined;
  return (row) =>
    (agent === undefined || row.agent === agent) &&
    (route === undefined || row.route === route) &&
    (code === undefined || row.error === code || (status !== undefined && String(row.status).startsWith(status)));
}

async function fetchDecisions(admin: Listen, after: number): Promise<DecisionReport> {
  const { status, body } = await requestAdmin(admin, { path: `/decisions?after=${after}` });
  if (status !== 200) throw new Error(`the admin listener at ${nameOfListen(admin)} returned status ${status}`);
  if (!isReport(body)) throw otherServer(admin);
  return body;
}

/** Another server may listen there. */
function isReport(report: unknown): report is DecisionReport {
  const { last, missed, decisions } = Object(report) as Partial<DecisionReport>;
  return typeof last === 'number' && typeof missed === 'number' && Array.isArray(decisions);
}

function toText(row: DecisionRow): string {
  const { agent, team, matched, cache, exchange_ms: exchangeMs } = row;
  const parts = [
    row.time,
    String(row.status),
    row.error ?? row.outcome,
    row.route ?? (team === undefined ? '(not routed)' : `(no route of ${team})`),
    ...(matched === undefined ? [] : [`(${matched})`]),
    ...(agent === undefined ? [] : [`agent=${agent}`]),
    ...(cache === undefined ? [] : [`cache=${cache}`]),
    ...(exchangeMs === undefined ? [] : [`exchange=${Math.round(exchangeMs)}ms`]),
    ...describe('asked', row.requested),
    ...describe('got', row.granted),
  ];
  // An authorization server chooses audiences and scopes, and must not control the terminal.
  return parts.map(printable).join(' ');
}

function describe(what: string, named: object | undefined): string[] {
  const parts = Object.entries(named ?? {}).map(([parameter, value]) => `${parameter} ${[value].flat().join(' ')}`);
  return parts.length === 0 ? [] : [`${what}=[${parts.join(', ')}]`];
}
