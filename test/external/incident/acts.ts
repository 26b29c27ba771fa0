import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startMcpBackend } from '../../harness/mcp-backend.ts';
import type { LogLine } from '../../harness/process-output.ts';
import type { RouteName, World, WorldConfig } from '../../harness/world.ts';
import type { Gate } from './gate.ts';

/** All that can be taken away. */
export interface Stage {
  readonly world: World;
  readonly gate: Gate;
  readonly clientSecret: string;
  readonly config: WorldConfig;
}

/** One thing that goes wrong, and is fixed. */
export interface Act {
  /** As the block of the story in deploy/incident.md is named. */
  readonly name: string;
  readonly what: string;
  /** Whose callers tell of it. */
  readonly route: RouteName;
  takeAway(stage: Stage): Promise<unknown>;
  fix(stage: Stage): Promise<unknown>;
  /** Is this the line that a person should find? */
  tells(line: LogLine): boolean;
}

export const ACTS: readonly Act[] = [
  {
    name: 'authorization-server',
    what: 'The authorization server goes away.',
    route: 'github',
    takeAway: ({ gate }) => gate.shut(),
    fix: ({ gate }) => gate.reopen(),
    tells: ({ msg, error, route }) => msg === 'exchange' && error === 'ERR_STS_UNAVAILABLE' && route === 'github',
  },
  {
    name: 'backend',
    what: 'A backend goes away.',
    route: 'github',
    takeAway: ({ world }) => world.backends.github.close(),
    fix: ({ world }) => restartBackend(world, 'github'),
    tells: ({ msg, error }) => msg === 'request' && error === 'ERR_UPSTREAM_UNREACHABLE',
  },
  {
    name: 'wrong-secret',
    what: 'The client secret is replaced by a wrong one.',
    route: 'docs',
    takeAway: (stage) => writeFile(secretFile(stage), 'not the secret that the authorization server knows'),
    fix: (stage) => writeFile(secretFile(stage), stage.clientSecret),
    tells: ({ msg, error, route }) => msg === 'exchange' && error === 'ERR_CLIENT_REFUSED' && route === 'docs',
  },
  {
    name: 'no-secret',
    what: 'The file of the client secret is not there.',
    route: 'docs',
    takeAway: (stage) => rm(secretFile(stage)),
    fix: (stage) => writeFile(secretFile(stage), stage.clientSecret),
    tells: ({ msg, error, route }) => msg === 'exchange' && error === 'ERR_CREDENTIAL_UNAVAILABLE' && route === 'docs',
  },
  {
    name: 'config-file',
    what: 'A config file with a mistake is rolled out.',
    route: 'docs',
    takeAway: ({ world, config }) =>
      world.cambist.rewriteConfig(JSON.stringify(config, null, 2).replace('"upstream"', '"upstraem"')),
    fix: ({ world, config }) => world.cambist.rewriteConfig(JSON.stringify(config, null, 2)),
    tells: ({ level, line }) => level === 'error' && line !== undefined,
  },
];

const secretFile = ({ world }: Stage): string => join(world.cambist.directory, 'client-secret');

/** At the same place, with its old name, and without its old sessions. */
async function restartBackend(world: World, name: RouteName): Promise<void> {
  const { url, resource } = world.backends[name];
  const { issuer, jwksUri } = world.authorizationServer;
  world.backends[name] = await startMcpBackend({ name, issuer, jwksUri, resource, port: Number(new URL(url).port) });
}
