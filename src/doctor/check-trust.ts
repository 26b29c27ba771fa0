import { mkdtemp, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { excludedRoutes, interceptedHosts } from '../intercept/hosts.ts';
import { type Finding, fine, problem, shortAscii, warning } from './finding.ts';
import type { Reporter } from './run-checks.ts';
import { runTrustProgram } from './run-trust-program.ts';
import {
  fileOf,
  findTrustFolder,
  makeTrustFolder,
  type SigningFolder,
  type TrustFolder,
  whyNotTrusted,
} from './trust-folder.ts';
import { openTrustListener } from './trust-listener.ts';
import { findProgram, TRUST_CLIENTS, type TrustClient } from './trust-programs.ts';

/**
 * Checks whether the usual clients would trust the certificates of `intercept`, with only the variables of the trust folder. Each
 * program on `PATH` calls a listener whose certificate is by the authority of the folder. For the others, the variables tell.
 */
export async function checkTrust(config: Config, reporter: Reporter): Promise<void> {
  const component = { kind: 'trust', name: '' } as const;
  reporter.section(component, 'trust folder');
  const temporary = await makeTemporaryFolder(config);
  try {
    const folder = await findTrustFolder(config, (finding) => reporter.finding(component, finding));
    const signing = folder !== undefined && 'authority' in folder ? folder : await makeTrustFolder(temporary, config);
    const host = permittedHost(config, signing);
    if (host === undefined) {
      const what = 'no route has a host for which the authority may sign; nothing is intercepted';
      reporter.finding(component, warning('trust_not_checked', what, { fix: 'set match.host on the routes' }));
      return;
    }
    const scene = { folder: folder ?? signing, signing, host, temporary };
    const checks = await Promise.all(TRUST_CLIENTS.map((client) => checkClient(client, scene)));
    for (const [name, finding] of checks) reporter.finding({ kind: 'trust', name }, finding);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** A container with a read-only root file system has no other place than the trust folder, which cambist itself writes. */
async function makeTemporaryFolder({ intercept }: Config): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), 'cambist-doctor-'));
  } catch (error) {
    if (intercept === undefined) throw error;
    return mkdtemp(join(intercept.trustDir, '.doctor-'));
  }
}

interface Scene {
  /** The folder that agents read. */
  readonly folder: TrustFolder;
  /** The same, or one of the same kind where the key of `folder` is unavailable. */
  readonly signing: SigningFolder;
  readonly host: string;
  /** For files of the programs. */
  readonly temporary: string;
}

async function checkClient(client: TrustClient, scene: Scene): Promise<readonly [name: string, finding: Finding]> {
  const { name, variable } = client;
  const why = await whyNotTrusted(variable, scene.folder);
  if (why !== undefined) {
    const fix = 'restart the pod, so that cambist writes the folder again';
    return [name, problem('trust_folder_broken', `${name} would not find the authority`, { why, fix })];
  }
  const program = client.program && (await findProgram(client.program, process.env.PATH ?? ''));
  if (program === undefined) {
    const reads =
      client.program === undefined ? 'if it is built with native roots' : `no ${client.program} here to try`;
    const what = `${name} would trust it by ${variable}, which names "${fileOf(variable, scene.folder)}"; ${reads}`;
    return [name, fine('trust_expected', what)];
  }
  return [name, await tryProgram(client, program, scene)];
}

async function tryProgram(client: TrustClient, program: string, scene: Scene): Promise<Finding> {
  const { name, variable } = client;
  const { signing, host, temporary } = scene;
  const listener = await openTrustListener(signing.authority, host);
  try {
    const args = await client.call({ host, proxy: new URL(listener.url).host, folder: temporary });
    const { succeeded, message } = await runTrustProgram(program, args, signing, listener.url);
    const why = message === '' ? {} : { why: shortAscii(message) };
    if (!listener.isReached()) {
      return warning('trust_not_checked', `${name} could not be tried: ${program} made no call`, why);
    }
    if (succeeded) return fine('trust_believed', `${name} trusts it by ${variable} (${program})`);
    const fix = `compare the documentation of this ${name} about ${variable}; older versions may not read it`;
    return problem('trust_refused', `${name} refuses the certificate although ${variable} names it (${program})`, {
      ...why,
      fix,
    });
  } finally {
    listener.close();
  }
}

/** A host of the routes that the authority may sign for. A name, if there is one: a wildcard gets a label. */
function permittedHost({ routes }: Config, { authority }: SigningFolder): string | undefined {
  const excluded = new Set(excludedRoutes(authority.cert, routes));
  const hosts = interceptedHosts(routes.filter((route) => !excluded.has(route)));
  const host = hosts.find((each) => isIP(each) === 0) ?? hosts[0];
  return host?.replace(/^\*(?=\.)/, 'doctor');
}
