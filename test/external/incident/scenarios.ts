import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogLine } from '../../harness/cambist-process.ts';
import type { Lifetime } from '../../harness/lifetime.ts';
import { startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import type { McpSetup, McpSetupConfig, RouteName } from '../../harness/mcp-setup.ts';
import type { TcpProxy } from '../store/tcp-proxy.ts';

/** The parts that a scenario can break. */
export interface TestBed {
  readonly setup: McpSetup;
  readonly lifetime: Lifetime;
  /** Leads to the authorization server. */
  readonly gate: TcpProxy;
  readonly clientSecret: string;
  readonly config: McpSetupConfig;
}

export interface Scenario {
  readonly name: string;
  readonly failure: string;
  readonly route: RouteName;
  break(bed: TestBed): Promise<unknown>;
  fix(bed: TestBed): Promise<unknown>;
  /** Does this log line explain the failure? */
  explains(line: LogLine): boolean;
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'authorization-server',
    failure: 'The authorization server is down.',
    route: 'github',
    break: ({ gate }) => gate.close(),
    fix: ({ gate }) => gate.reopen(),
    explains: ({ msg, error, route }) => msg === 'exchange' && error === 'ERR_STS_UNAVAILABLE' && route === 'github',
  },
  {
    name: 'backend',
    failure: 'A backend is down.',
    route: 'github',
    break: ({ setup }) => setup.backends.github.close(),
    fix: (bed) => restartBackend(bed, 'github'),
    explains: ({ msg, error }) => msg === 'request' && error === 'ERR_UPSTREAM_UNREACHABLE',
  },
  {
    name: 'wrong-secret',
    failure: 'The client secret is wrong.',
    route: 'docs',
    break: (bed) => writeFile(secretFile(bed), 'not the secret that the authorization server knows'),
    fix: (bed) => writeFile(secretFile(bed), bed.clientSecret),
    explains: ({ msg, error, route }) => msg === 'exchange' && error === 'ERR_CLIENT_REFUSED' && route === 'docs',
  },
  {
    name: 'no-secret',
    failure: 'The client secret file is missing.',
    route: 'docs',
    break: (bed) => rm(secretFile(bed)),
    fix: (bed) => writeFile(secretFile(bed), bed.clientSecret),
    explains: ({ msg, error, route }) =>
      msg === 'exchange' && error === 'ERR_CREDENTIAL_UNAVAILABLE' && route === 'docs',
  },
  {
    name: 'config-file',
    failure: 'The new config file is invalid.',
    route: 'docs',
    break: ({ setup, config }) =>
      setup.cambist.rewriteConfig(JSON.stringify(config, null, 2).replace('"upstream"', '"upstraem"')),
    fix: ({ setup, config }) => setup.cambist.rewriteConfig(JSON.stringify(config, null, 2)),
    explains: ({ level, line }) => level === 'error' && line !== undefined,
  },
];

const secretFile = ({ setup }: TestBed): string => join(setup.cambist.directory, 'client-secret');

/** Restarts the backend on its old port and name, without its old sessions. */
async function restartBackend({ setup, lifetime }: TestBed, name: RouteName): Promise<void> {
  const { url, resource } = setup.backends[name];
  const { issuer, jwksUri } = setup.authorizationServer;
  setup.backends[name] = await startMcpBackend(lifetime, {
    name,
    issuer,
    jwksUri,
    resource,
    port: Number(new URL(url).port),
  });
}
