import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { StatusReport } from '../../../src/admin/status-report.ts';
import { keepParts, type Lifetime } from '../../harness/lifetime.ts';
import { type McpSetupConfig, startMcpSetup } from '../../harness/mcp-setup.ts';
import { monitoredPort, type Prometheus, podAddress, startPrometheus } from '../prometheus/prometheus.ts';
import { QUICKENED, readRuleGroups } from '../prometheus/rules.ts';
import { startTcpProxy } from '../store/tcp-proxy.ts';
import { type Callers, startCallers } from './callers.ts';
import {
  condense,
  formatObservation,
  type Observation,
  readReports,
  replaceReports,
  withoutFigures,
} from './report.ts';
import { SCENARIOS, type Scenario, type TestBed } from './scenarios.ts';

const USAGE = `Usage: npm run incident [-- --write]

Starts the demo's servers, cambist, callers and a real Prometheus with the rules of deploy/. Breaks and fixes in turn the
authorization server, a backend, the client secret and the config file. Prints for each failure the alert, /readyz, the
status page, the callers' results and the log line. Time runs ${QUICKENED} times faster for the rules.
Fails where deploy/incident.md differs.
  --write  update the blocks of deploy/incident.md
`;

const PAGE = 'deploy/incident.md';
const ALERT_TIMEOUT_MS = 60_000;
const SETTLE_TIMEOUT_MS = 60_000;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let write: boolean;
  try {
    write = parseArgs({ args, options: { write: { type: 'boolean', default: false } } }).values.write;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return 2;
  }
  const reports = await rehearse();
  const page = await readFile(PAGE, 'utf8');
  if (write) {
    await writeFile(PAGE, replaceReports(page, reports));
    return 0;
  }
  const written = readReports(page);
  const changed = [...reports].filter(
    ([name, text]) => withoutFigures(written.get(name) ?? '') !== withoutFigures(text),
  );
  for (const [name] of changed) console.error(`${PAGE}: block "${name}" differs: review it, then run with --write`);
  return changed.length === 0 ? 0 : 1;
}

/** Runs all scenarios. @returns the report of each, by its name */
async function rehearse(): Promise<ReadonlyMap<string, string>> {
  const lifetime = keepParts();
  try {
    const { bed, prometheus, callers } = await setUp(lifetime);
    const reports = new Map<string, string>();
    for (const [index, scenario] of SCENARIOS.entries()) {
      const text = formatObservation(await run(scenario, bed, prometheus, callers));
      reports.set(scenario.name, text);
      console.log(`${index + 1}. ${text.replaceAll('\n', '\n   ')}\n`);
    }
    return reports;
  } finally {
    await lifetime.close();
  }
}

async function setUp(lifetime: Lifetime) {
  const monitored = monitoredPort();
  const address = podAddress();
  let config: McpSetupConfig = {};
  const setup = await startMcpSetup(lifetime, {
    change: (written) => {
      config = { version: 1, listen: '127.0.0.1:0', ...written, admin: `${address}:${monitored.port}` };
      return config;
    },
  });
  const endpoint = new URL(setup.authorizationServer.tokenEndpoint);
  const gate = await startTcpProxy(lifetime, Number(endpoint.port));
  endpoint.port = String(gate.port);
  config = throughGate(config, endpoint.href);
  await setup.cambist.rewriteConfig(config);
  await setup.cambist.waitForLog(({ msg }) => msg === 'config reloaded');
  const clientSecret = await readFile(join(setup.cambist.directory, 'client-secret'), 'utf8');
  const callers = startCallers(setup);
  lifetime.after(callers.stop);
  const prometheus = await startPrometheus(lifetime, readRuleGroups(), monitored, address);
  await prometheus.waitUntil('no alert is pending', SETTLE_TIMEOUT_MS, async () => isHealthy(prometheus));
  const bed: TestBed = { setup, lifetime, gate, clientSecret, config };
  return { bed, prometheus, callers };
}

/** Breaks a part, waits for an alert, observes, fixes the part, and waits until every alert has resolved. */
async function run(scenario: Scenario, bed: TestBed, prometheus: Prometheus, callers: Callers): Promise<Observation> {
  const { cambist } = bed.setup;
  const brokenMs = performance.now();
  await scenario.break(bed);
  const fires = async () => (await prometheus.firing()).length > 0;
  await prometheus.waitUntil(`an alert for "${scenario.name}"`, ALERT_TIMEOUT_MS, fires);
  const firesAfterMinutes = minutesSince(brokenMs);
  const alerts = (await prometheus.alerts())
    .filter(({ state }) => state === 'firing')
    .map(({ labels, annotations }) => ({ name: labels.alertname, summary: annotations.summary ?? '' }));
  const readyz = await fetch(`${cambist.adminUrl}/readyz`);
  const observed = {
    readyz: `${readyz.status} ${await readyz.text()}`,
    statusPage: await readStatusPage(cambist.adminUrl),
    experience: callers.experience(scenario.route),
  };
  const line = cambist.logs().findLast(scenario.explains);
  const fixedMs = performance.now();
  await scenario.fix(bed);
  await prometheus.waitUntil(`"${scenario.name}" has resolved`, ALERT_TIMEOUT_MS, async () => isHealthy(prometheus));
  return {
    failure: scenario.failure,
    alerts,
    firesAfterMinutes,
    resolvesAfterMinutes: minutesSince(fixedMs),
    ...observed,
    log: line === undefined ? 'nothing' : condense(line, cambist.directory),
  };
}

/** The problems at the top of the status page, otherwise the last failure. Which routes fail differs between runs. */
async function readStatusPage(adminUrl: string): Promise<string> {
  const page = await (await fetch(`${adminUrl}/`)).text();
  const attention = /<section id="attention"[\s\S]*?<\/section>/.exec(page)?.[0] ?? '';
  const items = [...attention.matchAll(/<li>([\s\S]*?)<\/li>/g)]
    .map(([, item = '']) => textOf(item))
    .filter((item) => !item.startsWith('Route '));
  if (items.length > 0) return items.join(' ');
  const report = (await (await fetch(`${adminUrl}/status.json`)).json()) as StatusReport;
  const [last] = report.failures;
  return last === undefined ? 'nothing' : `last failure ${last.error}: ${last.fix}`;
}

function textOf(html: string): string {
  return html
    .replace(/<[^>]*>/g, '')
    .replaceAll('&quot;', '"')
    .trim();
}

/** True when no alert is firing or pending. */
async function isHealthy(prometheus: Prometheus): Promise<boolean> {
  const up = await prometheus.query('up == 1');
  return up.length === 1 && (await prometheus.alerts()).length === 0;
}

function minutesSince(startMs: number): number {
  return Math.round(((performance.now() - startMs) / 60_000) * QUICKENED);
}

interface Servers {
  readonly [name: string]: Readonly<Record<string, unknown>>;
}

/** Sends token requests through the gate. The issuer stays that of the tokens. */
function throughGate(config: McpSetupConfig, tokenEndpoint: string): McpSetupConfig {
  const { local, ...others } = config.authorization_servers as Servers;
  return {
    ...config,
    authorization_servers: { ...others, local: { ...local, token_endpoint: tokenEndpoint, timeout: '5s' } },
  };
}
