import { generateKeyPairSync, type KeyPairKeyObjectResult } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TestContext } from 'node:test';
import { decodeJwt, type JWTPayload } from 'jose';
import { parse } from 'yaml';
import { type RunningApp, startTestApp } from './app.ts';
import { createCertificateAuthority } from './certificates.ts';
import { echo, type FakeUpstream, startFakeUpstream } from './fake-upstream.ts';
import { type CallResponse, call } from './http-call.ts';
import { temporaryFolder } from './lifetime.ts';
import { type SimulatedServer, type SimulationRules, startSimulatedServer } from './simulated-server.ts';

/** A config with the keys of the file. */
export interface RecipeConfig {
  authorization_servers: Record<string, Record<string, unknown>>;
  routes: Record<string, unknown>[];
  defaults?: Record<string, unknown>;
  [key: string]: unknown;
}

/** A running recipe, with a simulation of its authorization server. */
export interface Recipe {
  readonly app: RunningApp;
  readonly server: SimulatedServer;
  readonly upstream: FakeUpstream;
  readonly config: RecipeConfig;
  /** Calls the first route. */
  call(token: string): Promise<CallResponse>;
  /** The claims of the token that the upstream received last, or the token itself if it is opaque. */
  received(): JWTPayload | string | undefined;
  /** Returns the recipe with other keys of its first route and its authorization server. */
  changed(route: Keys, server?: Keys): RecipeConfig;
  /** Reloads the recipe with these keys. */
  change(route: Keys, server?: Keys): void;
}

type Keys = Record<string, unknown>;

const FOLDER = new URL('../../config/', import.meta.url);

/** Starts cambist with `config/<name>.yaml`, with addresses and files of the test. */
export async function startRecipe(t: TestContext, name: string, rules: SimulationRules): Promise<Recipe> {
  const text = readFileSync(new URL(`${name}.yaml`, FOLDER), 'utf8');
  const written: RecipeConfig = parse(text);
  const [serverName, entry] = Object.entries(written.authorization_servers)[0] ?? ['', {}];
  const address = String(entry.issuer ?? entry.token_endpoint);
  const { origin } = new URL(address);
  const server = await startSimulatedServer(rules, address.slice(origin.length));
  t.after(server.close);
  const upstream = await startFakeUpstream(t, echo);
  const files = writeFiles(t, server);
  const config = rewrite(written, (value) =>
    value.startsWith('/var/run/secrets/') ? join(files, basename(value)) : value.replace(origin, server.origin),
  );
  for (const route of config.routes) route.upstream = `${upstream.url}${new URL(String(route.upstream)).pathname}`;
  const app = await startTestApp(t, config);
  const changed: Recipe['changed'] = (route, keys = {}) => {
    const [first = {}, ...others] = config.routes;
    return {
      ...config,
      authorization_servers: {
        ...config.authorization_servers,
        [serverName]: { ...config.authorization_servers[serverName], ...keys },
      },
      routes: [{ ...first, ...route }, ...others],
    };
  };
  return {
    app,
    server,
    upstream,
    config,
    call: (token) => call(`${app.url}/github`, { headers: { authorization: `Bearer ${token}` }, body: '{}' }),
    received() {
      const bearer = upstream.requests.at(-1)?.authorization[0]?.replace(/^Bearer /, '');
      return bearer?.startsWith('ey') ? decodeJwt(bearer) : bearer;
    },
    changed,
    change: (route, keys) => void app.reloadTo(changed(route, keys)),
  };
}

/** Of all clients, because generating an RSA key takes a third of a second of CPU time. */
let clientKeys: KeyPairKeyObjectResult | undefined;

/** Writes the client's secret, key and certificate, and the workload's token. */
function writeFiles(t: TestContext, server: SimulatedServer): string {
  const folder = temporaryFolder(t);
  clientKeys ??= generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pair = clientKeys;
  server.clientKey = pair.publicKey;
  writeFileSync(join(folder, 'client-secret'), server.clientSecret);
  writeFileSync(join(folder, 'tls.key'), pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  writeFileSync(join(folder, 'tls.crt'), createCertificateAuthority().issueClient({ publicKey: pair.publicKey }).cert);
  writeFileSync(join(folder, 'cambist'), 'token-of-the-workload');
  process.env.TOKEN_X_PRIVATE_JWK = JSON.stringify({ ...pair.privateKey.export({ format: 'jwk' }), kid: 'tokenx' });
  return folder;
}

/** Replaces every string of the config. */
function rewrite(config: RecipeConfig, change: (value: string) => string): RecipeConfig {
  const walk = (value: unknown): unknown => {
    if (typeof value === 'string') return change(value);
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, walk(part)]));
  };
  return walk(config) as RecipeConfig;
}
