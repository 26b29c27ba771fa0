import {
  type Behaviour,
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  type TokenRequest,
} from '../harness/fake-authorization-server.ts';
import type { Lifetime } from '../harness/lifetime.ts';
import type { Random } from '../harness/random.ts';
import { type Ledger, OWN_CLIENT } from './ledger.ts';

export interface HostileAuthorizationServer {
  readonly tokenEndpoint: string;
  /** False: it issues what it is asked for. */
  misbehaves: boolean;
  /** Tokens that it issued. */
  readonly issued: number;
}

export interface HostileAuthorizationServerOptions {
  readonly random: Random;
  readonly ledger: Ledger;
  /** The backend with this resource. */
  readonly backendOf: (resource: string) => string | undefined;
  readonly resources: () => readonly string[];
  /** Checks the client secret of a token request. */
  readonly checkSecret: (secret: string) => void;
}

/** Received requests that the fake keeps. A long run must not fill the memory with them. */
const MAX_KEPT_REQUESTS = 500;

/** A token may be in flight to a backend when it expires. */
const IN_FLIGHT_MS = 8000;

/** The wall clock of this process is one of the things that misbehave. */
const wallMs = Date.now;

/** An authorization server that issues, refuses, hangs, breaks off, repeats what it was sent, or issues for another backend. */
export async function startHostileAuthorizationServer(
  t: Lifetime,
  options: HostileAuthorizationServerOptions,
): Promise<HostileAuthorizationServer> {
  const { random, ledger, backendOf, resources, checkSecret } = options;
  const fake: FakeAuthorizationServer = await startFakeAuthorizationServer(t);
  const server = {
    tokenEndpoint: fake.tokenEndpoint,
    misbehaves: true,
    issued: 0,
  };

  const issue = ({ form }: TokenRequest, resource = form.get('resource') ?? ''): Behaviour => {
    const subject = form.get('subject_token');
    const found = subject === null ? undefined : ledger.find(subject);
    const backend = backendOf(resource);
    if (backend === undefined) return refuse('invalid_target');
    if (subject !== null && found?.kind !== 'subject') return refuse('invalid_grant');
    server.issued += 1;
    const lifetimeSeconds = random.pick([2, 5, 30, 300]);
    const endsAtMs = performance.now() + lifetimeSeconds * 1000 + IN_FLIGHT_MS;
    const owner = found?.owner ?? OWN_CLIENT;
    const isOther = resource !== form.get('resource');
    const claims = { sub: owner, aud: resource, exp: Math.floor(wallMs() / 1000) + lifetimeSeconds };
    const accessToken = ledger.create(
      { kind: 'issued', owner, backend, endsAtMs },
      // Only a JWT says which backend it is for.
      isOther || random.chance(0.5) ? claims : undefined,
    );
    return {
      kind: 'issue',
      accessToken,
      fields: { expires_in: lifetimeSeconds },
      ...(random.chance(0.2) && { delayMs: random.int(300) }),
    };
  };

  /** Issues something that the request contains. */
  const repeat = (request: TokenRequest): Behaviour => {
    const sent = [request.form.get('subject_token'), secretOf(request)].filter((value) => value !== null);
    const value = random.pick(sent as [string, ...string[]]);
    return { kind: 'issue', accessToken: random.chance(0.5) ? value : `Bearer ${value}` };
  };

  const misbehave = (request: TokenRequest): Behaviour => {
    const { form } = request;
    switch (random.int(14)) {
      case 0:
      case 1:
        return repeat(request);
      case 2:
      case 3:
        return issue(request, random.pick(resources() as [string, ...string[]]));
      case 4:
        return refuse('invalid_grant');
      case 5:
        return refuse('invalid_target');
      case 6:
        return { kind: 'response', status: 500, body: form.toString() };
      case 7:
        return { kind: 'response', status: 429, headers: { 'retry-after': '1' }, body: { error: 'slow_down' } };
      case 8:
        return { kind: 'reset' };
      case 9:
        return { kind: 'hang' };
      case 10:
        return { kind: 'huge', bytes: 2_000_000 };
      case 11:
        return { kind: 'drip', intervalMs: 50 };
      case 12:
        return { kind: 'response', status: 307, headers: { location: `${fake.tokenEndpoint}?${form}` } };
      default:
        return {
          kind: 'response',
          status: 400,
          body: { error: 'invalid_request', error_description: form.toString() },
        };
    }
  };

  fake.behaviour = (request) => {
    if (fake.requests.length > MAX_KEPT_REQUESTS) fake.requests.length = 0;
    checkSecret(secretOf(request));
    return server.misbehaves && random.chance(0.25) ? misbehave(request) : issue(request);
  };
  return server;
}

/** The client secret, sent as `client_secret_basic`. */
function secretOf({ headers }: TokenRequest): string {
  const [, basic = ''] = (headers.authorization ?? '').split(' ');
  return Buffer.from(basic, 'base64').toString().split(':')[1] ?? '';
}

function refuse(error: string): Behaviour {
  return { kind: 'response', status: 400, body: { error } };
}
