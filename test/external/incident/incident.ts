import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { StatusReport } from '../../../src/admin/status.ts';
import { startWorld, type WorldConfig } from '../../harness/world.ts';
import { monitoredPort, podAddress } from '../prometheus/pod-monitor.ts';
import { type Prometheus, startPrometheus } from '../prometheus/prometheus.ts';
import { QUICKENED, readRuleGroups } from '../prometheus/rules.ts';
import { ACTS, type Act, type Stage } from './acts.ts';
import { type Callers, startCallers } from './callers.ts';
import { openGate } from './gate.ts';
import { condense, type Finding, readStory, rewriteStory, tell, withoutFigures } from './story.ts';

const USAGE = `Usage: npm run incident [-- --write]

Starts the demo's servers, cambist, callers and a real Prometheus with the rules of deploy/. Takes away in turn the
authorization server, a backend, the client secret and the config file; prints which alert fires, what /readyz and
the status page say, what callers meet and what the log says; and fixes it again. Time runs ${QUICKENED} times faster for the rules.
Fails where deploy/incident.md tells it otherwise.
  --write  make deploy/incident.md tell it as it was
`;

const GUIDE = 'deploy/incident.md';
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
  const told = await rehearse();
  const guide = await readFile(GUIDE, 'utf8');
  if (write) {
    await writeFile(GUIDE, rewriteStory(guide, told));
    return 0;
  }
  const story = readStory(guide);
  const wrong = [...told].filter(([name, text]) => withoutFigures(story.get(name) ?? '') !== withoutFigures(text));
  for (const [name] of wrong) console.error(`${GUIDE} tells "${name}" otherwise: look at it, then run with --write.`);
  return wrong.length === 0 ? 0 : 1;
}

/** Plays all acts. @returns what happened in each, by its name */
async function rehearse(): Promise<ReadonlyMap<string, string>> {
  const closing: (() => Promise<unknown>)[] = [];
  try {
    const { stage, prometheus, callers } = await setUp((close) => void closing.push(close));
    const told = new Map<string, string>();
    for (const [index, act] of ACTS.entries()) {
      const text = tell(await play(act, stage, prometheus, callers));
      told.set(act.name, text);
      console.log(`${index + 1}. ${text.replaceAll('\n', '\n   ')}\n`);
    }
    return told;
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

async function setUp(onClose: (close: () => Promise<unknown>) => void) {
  const monitored = monitoredPort();
  const address = podAddress();
  let config: WorldConfig = {};
  const world = await startWorld({
    change: (written) => {
      config = { version: 1, listen: '127.0.0.1:0', ...written, admin: `${address}:${monitored.port}` };
      return config;
    },
  });
  onClose(world.close);
  // By then it may be another one than the world began with.
  onClose(() => world.backends.github.close());
  const gate = await openGate(world.authorizationServer.tokenEndpoint);
  onClose(gate.shut);
  config = throughGate(config, `${gate.url}${new URL(world.authorizationServer.tokenEndpoint).pathname}`);
  await world.cambist.rewriteConfig(config);
  await world.cambist.waitForLog(({ msg }) => msg === 'config reloaded');
  const clientSecret = await readFile(join(world.cambist.directory, 'client-secret'), 'utf8');
  const callers = startCallers(world);
  onClose(callers.stop);
  const prometheus = await startPrometheus({ groups: readRuleGroups(), monitored, address });
  onClose(prometheus.close);
  await prometheus.waitUntil('all is well', SETTLE_TIMEOUT_MS, async () => isWell(prometheus));
  const stage: Stage = { world, gate, clientSecret, config };
  return { stage, prometheus, callers };
}

/** Takes something away, waits until an alert fires, looks around, fixes it, and waits until all is well. */
async function play(act: Act, stage: Stage, prometheus: Prometheus, callers: Callers): Promise<Finding> {
  const { cambist } = stage.world;
  const takenMs = performance.now();
  await act.takeAway(stage);
  const fires = async () => (await prometheus.firing()).length > 0;
  await prometheus.waitUntil(`an alert for "${act.name}"`, ALERT_TIMEOUT_MS, fires);
  const firesAfterMinutes = minutesSince(takenMs);
  const alerts = (await prometheus.alerts())
    .filter(({ state }) => state === 'firing')
    .map(({ labels, annotations }) => ({ name: labels.alertname, summary: annotations.summary ?? '' }));
  const readyz = await fetch(`${cambist.adminUrl}/readyz`);
  const looked = {
    readyz: `${readyz.status} ${await readyz.text()}`,
    page: await lookAtPage(cambist.adminUrl),
    experience: callers.experience(act.route),
  };
  const line = cambist.logs().findLast(act.tells);
  const fixedMs = performance.now();
  await act.fix(stage);
  await prometheus.waitUntil(`"${act.name}" is over`, ALERT_TIMEOUT_MS, async () => isWell(prometheus));
  return {
    what: act.what,
    alerts,
    firesAfterMinutes,
    endsAfterMinutes: minutesSince(fixedMs),
    ...looked,
    log: line === undefined ? 'nothing' : condense(line, cambist.directory),
  };
}

/** What the status page has at its top, or else its last failure. */
async function lookAtPage(adminUrl: string): Promise<string> {
  const page = await (await fetch(`${adminUrl}/`)).text();
  const attention = /<section class="attention">[\s\S]*?<\/section>/.exec(page)?.[0] ?? '';
  const items = [...attention.matchAll(/<li>([\s\S]*?)<\/li>/g)].map(([, item = '']) => textOf(item));
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

/** Not one alert fires, or is about to. */
async function isWell(prometheus: Prometheus): Promise<boolean> {
  const up = await prometheus.query('up == 1');
  return up.length === 1 && (await prometheus.alerts()).length === 0;
}

/** In the time of the rules. */
function minutesSince(startMs: number): number {
  return Math.round(((performance.now() - startMs) / 60_000) * QUICKENED);
}

interface Servers {
  readonly [name: string]: Readonly<Record<string, unknown>>;
}

/** cambist asks for tokens at the gate. The issuer stays what the tokens say. */
function throughGate(config: WorldConfig, tokenEndpoint: string): WorldConfig {
  const { local, ...others } = config.authorization_servers as Servers;
  return { ...config, authorization_servers: { ...others, local: { ...local, token_endpoint: tokenEndpoint } } };
}
