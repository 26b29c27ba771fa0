import { createReadStream } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { systemClock } from '../clock/clock.ts';
import type { Config } from '../config/config.ts';
import type { Route } from '../config/route.ts';
import { createCheckContext } from '../doctor/check-context.ts';
import { openSpiffe } from '../doctor/check-own-parts.ts';
import type { SubjectTokenInput } from '../doctor/check-subject.ts';
import type { Component, Finding, Severity } from '../doctor/finding.ts';
import { type CheckOptions, type Reporter, runChecks } from '../doctor/run-checks.ts';
import { printable, printableJson } from '../observability/printable.ts';
import { closed } from '../routing/region-table.ts';
import { isB64Token } from '../tokens/token-text.ts';
import { createDispatchers } from '../transport/dispatchers.ts';
import { createDnsLookup } from '../transport/dns-lookup.ts';
import { type Command, configFile, countOf, EXIT, UsageError } from './command.ts';
import { throughOptions } from './doctor-through.ts';
import { loadOrReport, showsColour } from './report-problems.ts';
import { USAGES } from './usages.ts';

/**
 * Checks the authorization servers and backends of a config, and performs one exchange for each route. With `--call` it also
 * calls each backend with the issued token. With `--trust` it checks nothing but the trust folder of `intercept`, and with `--through`
 * nothing but a data plane.
 */
export const doctor: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.doctor.flags });
  const { trust, through } = values;
  const refuse = (flag: string, names: readonly (keyof typeof values)[]) => {
    const other = names.find((name) => values[name] !== undefined);
    if (other !== undefined) throw new UsageError(`${flag} takes no --${other}`);
  };
  if (trust === true) refuse('--trust', ['route', 'subject-token-file', 'call', 'through']);
  if (through === undefined) refuse('doctor without --through', ['echo', 'agent-token-file', 'stopped']);
  else refuse('--through', ['call']);
  const file = configFile(values.config);
  const loaded = await loadOrReport(file);
  if (loaded === undefined) return EXIT.failed;
  const { config } = loaded;
  const only = values.route === undefined ? undefined : routeNamed(values.route, config);
  const inputs: SubjectTokenInput[] = [];
  for (const name of values['subject-token-file'] ?? []) inputs.push(await readTokenFile(name));
  const [input, ...more] = inputs;
  if (more.length > 0 && through === undefined)
    throw new UsageError('only --through takes a second --subject-token-file');
  const findings: ReportedFinding[] = [];
  const report =
    values.json === true ? undefined : createTextReport((line) => console.log(line), showsColour(process.stdout));
  const reporter: Reporter = {
    section: (component, title) => report?.section(component, title),
    finding(component, finding) {
      findings.push({ about: component, ...finding });
      report?.finding(component, finding);
    },
  };
  if (trust === true) await (await import('../doctor/check-trust.ts')).checkTrust(config, reporter);
  else if (through !== undefined) {
    const agentFile = values['agent-token-file'];
    const agent = agentFile === undefined ? undefined : await readTokenFile(agentFile);
    const options = throughOptions({
      config,
      route: only,
      tokens: inputs.map(({ token }) => token),
      agentToken: agent?.token,
      url: through,
      echo: values.echo,
      isStopped: values.stopped === true,
    });
    const about = { kind: 'route', name: options.route.name } as const;
    reporter.section(about, `data plane ${options.url}, route "${about.name}"`);
    const { checkThrough } = await import('../doctor/check-through.ts');
    for (const finding of await checkThrough(options)) reporter.finding(about, finding);
  } else await check({ config, only, input, call: values.call === true }, reporter);
  const healthy = findings.every(({ severity }) => severity !== 'error');
  console.log(values.json === true ? printableJson({ file, healthy, findings }, 2) : `\n${file}: ${summary(findings)}`);
  return healthy ? EXIT.done : EXIT.failed;
};

async function check(
  options: Omit<CheckOptions, 'context' | 'spiffe' | 'reporter'>,
  reporter: Reporter,
): Promise<void> {
  const agent = options.config.spiffe?.socket;
  const spiffe = agent === undefined ? undefined : await openSpiffe(agent);
  // Where names lead agents to cambist, /etc/hosts would lead its own checks there as well.
  const byName = (options.config.intercept?.listen.length ?? 0) > 0;
  const dispatchers = createDispatchers(() => {}, byName ? { lookup: createDnsLookup() } : {}, spiffe);
  const context = createCheckContext(dispatchers.for, options.config.authorizationServers, systemClock);
  try {
    await runChecks({ ...options, context, spiffe, reporter });
  } finally {
    await dispatchers.destroy();
    spiffe?.close();
  }
}

function routeNamed(name: string, { routes, teams }: Config): Route {
  const route = routes.find((candidate) => candidate.name === name);
  if (route !== undefined) return route;
  const team = teams.find(({ grants, isOpen }) => !isOpen && name.startsWith(`${grants.name}/`));
  if (team !== undefined) throw new UsageError(closed(team).message);
  throw new UsageError(`unknown route "${name}": the config has ${routes.map((other) => other.name).join(', ')}`);
}

/** No server accepts a longer header. A pipe or device may be endless. */
const MAX_BYTES = 64 * 1024;

/**
 * Reads a token: the bare token, or the header line that it was copied from.
 * @param file `-` is standard input, for containers that no file can be copied into
 * @throws {UsageError} if the file is unreadable, too long, or contains something else
 */
async function readTokenFile(file: string): Promise<SubjectTokenInput> {
  const source = file === '-' ? 'standard input' : file;
  const refuse = (why: string): never => {
    throw new UsageError(
      `the token file "${source}" ${why}: name a file that contains a token, or - for standard input`,
    );
  };
  const stream = createReadStream(file, { end: MAX_BYTES, ...(file === '-' && { fd: 0 }) });
  const written = await buffer(stream).catch(() => refuse('cannot be read'));
  if (written.length > MAX_BYTES) refuse(`is longer than ${MAX_BYTES / 1024} KiB, too long for a token`);
  const token = String(written)
    .trim()
    .replace(/^(?:authorization: *)?bearer +/i, '');
  if (!isB64Token(token)) refuse(token === '' ? 'is empty' : 'contains other text than a token');
  return { source, token };
}

export interface ReportedFinding extends Finding {
  readonly about: Component;
}

const MARKS: Record<Severity, { sign: string; colour: number }> = {
  ok: { sign: '✓', colour: 32 },
  warning: { sign: '!', colour: 33 },
  error: { sign: '✗', colour: 31 },
};

/**
 * Writes each step as text.
 * @param colour whether the reader shows ANSI colours
 */
export function createTextReport(write: (line: string) => void, colour: boolean): Reporter {
  const paint = (text: string, code: number) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  let first = true;
  return {
    section(_component, title) {
      if (!first) write('');
      first = false;
      write(printable(title));
    },
    finding(_component, { severity, code, what, why, fix, claims }) {
      const { sign, colour: of } = MARKS[severity];
      write(`  ${paint(sign, of)} ${printable(what)}${severity === 'ok' ? '' : ` [${code}]`}`);
      if (why !== undefined) write(`      why: ${printable(why)}`);
      if (fix !== undefined) write(`      fix: ${printable(fix)}`);
      for (const line of claims === undefined ? [] : describeClaims(claims)) write(`      ${line}`);
    },
  };
}

/** One claim a line. JSON leaves some control characters unescaped, and they could manipulate a terminal. */
function describeClaims(claims: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(claims).map(([name, value]) => {
    const line = `${JSON.stringify(name).slice(1, -1)}: ${JSON.stringify(value)}${timeOf(name, value)}`;
    return printable(line);
  });
}

/** Claims hold times in seconds, which people cannot read. */
function timeOf(name: string, value: unknown): string {
  if (!['exp', 'iat', 'nbf'].includes(name) || typeof value !== 'number') return '';
  const date = new Date(1000 * value);
  return Number.isNaN(date.getTime()) ? '' : ` (${date.toISOString()})`;
}

/** The last line: the number of problems and warnings. */
export function summary(findings: readonly Finding[]): string {
  const warnings = countOf(findings, 'warning', 'warning');
  return (
    (countOf(findings, 'error', 'problem') ?? 'no problem found') + (warnings === undefined ? '' : `; ${warnings}`)
  );
}
