import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type CertificateAuthority, createCertificateAuthority } from '../harness/certificates.ts';
import { type Bounds, type Case, listCases } from './cases.ts';
import { startLoadProcess } from './load-process.ts';
import { createCambist } from './peers/cambist.ts';
import { bareFastify } from './peers/fastify-http-proxy.ts';
import { haproxy } from './peers/haproxy.ts';
import { httpProxy } from './peers/http-proxy.ts';
import { nginx } from './peers/nginx.ts';
import type { InterceptedHost } from './peers/peer.ts';
import { bareExchange, bareUndici, bareUndiciWhole } from './peers/undici.ts';
import { describeMachine, type Machine, pinSelf } from './processes.ts';
import { buildPrograms } from './programs.ts';
import { type BenchResult, formatResult } from './report.ts';
import { type CaseResult, runCase } from './run-case.ts';

const USAGE = `Usage: npm run bench -- [options]

Compares cambist with other proxies. All run at the same time and are measured in turn.
  --case NAME      run only this case; can be repeated
  --seconds N      seconds for each proxy in each round (default: 1)
  --rounds N       number of rounds (default: 6)
  --quick          a smoke test with short rounds; do not quote its figures
  --against FILE   also measure another build of cambist, by its main.js
  --node FILE      run the proxies on this Node (default: the Node that runs the bench)
  --json           print JSON
`;

const FULL: Bounds = { rounds: 6, seconds: 1, warmSeconds: 1, memoryRequests: 1_000_000 };
const QUICK: Bounds = { rounds: 1, seconds: 0.3, warmSeconds: 0.2, memoryRequests: 10_000 };

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let settings: ReturnType<typeof readArguments>;
  try {
    settings = readArguments(args);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return 2;
  }
  if (settings === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  pinSelf();
  const result = await run(settings);
  process.stdout.write(`${settings.json ? JSON.stringify(result, null, 1) : formatResult(result)}\n`);
  return 0;
}

interface Settings {
  readonly cases: readonly Case[];
  readonly bounds: Bounds;
  readonly node: string;
  readonly machine: Machine;
  readonly json: boolean;
}

function readArguments(args: string[]): 'help' | Settings {
  const { values } = parseArgs({
    args,
    options: {
      case: { type: 'string', multiple: true },
      seconds: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      against: { type: 'string' },
      node: { type: 'string', default: process.execPath },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  const bounds = values.quick ? QUICK : FULL;
  const seconds = values.seconds === undefined ? bounds.seconds : positive('--seconds', values.seconds);
  const rounds = values.rounds === undefined ? bounds.rounds : Math.ceil(positive('--rounds', values.rounds));
  const { node, json } = values;
  const cases = chosenCases(values.case, values.against);
  return { cases, bounds: { ...bounds, seconds, rounds }, node, machine: describeMachine(node), json };
}

function chosenCases(names: readonly string[] | undefined, against: string | undefined): Case[] {
  const cases = listCases({
    cambist: createCambist({ name: 'cambist', logLevel: 'info' }),
    quiet: createCambist({ name: 'cambist, log: warn', logLevel: 'warn' }),
    inbound: createCambist({ name: 'cambist, inbound', logLevel: 'info', inbound: true }),
    shared: createCambist({ name: 'cambist, shared cache', logLevel: 'info', shared: true }),
    secondLevel: createCambist({
      name: 'cambist, shared cache, second level',
      logLevel: 'info',
      shared: true,
      maxEntries: 1,
    }),
    other:
      against === undefined
        ? undefined
        : createCambist({ name: 'cambist, other build', logLevel: 'info', program: resolve(against) }),
    undici: bareUndici,
    undiciWhole: bareUndiciWhole,
    exchange: bareExchange,
    fastify: bareFastify,
    httpProxy,
    nginx,
    haproxy,
  });
  const unknown = names?.find((name) => !cases.some((known) => known.name === name));
  if (unknown !== undefined) {
    throw new Error(`unknown case "${unknown}": use ${cases.map(({ name }) => name).join(', ')}`);
  }
  return names === undefined ? cases : cases.filter(({ name }) => names.includes(name));
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${option} must be greater than 0`);
  return value;
}

async function run({ cases, bounds, node, machine }: Settings): Promise<BenchResult> {
  buildPrograms();
  const directory = mkdtempSync(join(tmpdir(), 'cambist-bench-'));
  const authority = createCertificateAuthority();
  const load = await startLoadProcess(authority.issueServer());
  const caFile = join(directory, 'ca.pem');
  writeFileSync(caFile, authority.cert);
  const intercepted = writeCertificate(authority, directory, caFile);
  const results: CaseResult[] = [];
  try {
    for (const benchCase of cases) {
      process.stderr.write(`${benchCase.name}: ${benchCase.about}\n`);
      results.push(await runCase(benchCase, { load, directory, caFile, node, intercepted }, bounds));
    }
  } finally {
    load.close();
    rmSync(directory, { recursive: true, force: true });
  }
  return { machine, versions: versions(), cases: results };
}

/** The certificate of proxies that terminate TLS without an authority of their own. */
function writeCertificate(authority: CertificateAuthority, directory: string, caFile: string): InterceptedHost {
  const host = 'mcp.example.com';
  const { cert, key } = authority.issueServer({ hosts: [host] });
  const [certFile, keyFile] = [join(directory, 'callers.crt'), join(directory, 'callers.key')];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  return { host, certFile, keyFile, caFile };
}

function versions(): Record<string, string> {
  const names = ['fastify', '@fastify/http-proxy', 'undici'];
  return Object.fromEntries(names.map((name) => [name, versionOf(name)]));
}

function versionOf(name: string): string {
  const file = new URL(`../../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
