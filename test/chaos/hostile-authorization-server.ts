import {
  type Behaviour,
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  type TokenRequest,
} from '../harness/fake-authorization-server.ts';
import type { Lifetime } from '../harness/lifetime.ts';
import type { Random } from '../harness/random.ts';
import { type Ledger, OWN_CLIENT } from './ledger.ts';

/** Received requests that the fake keeps. A long run must not fill the memory with them. */
const MAX_KEPT_REQUESTS = 500;

/** A token may be in flight to a backend when it expires. */
const IN_FLIGHT_MS = 8000;

/** The wall clock of this process is one of the things that misbehave. */
const wallMs = Date.now;

/** An authorization server that issues, refuses, hangs, breaks off, repeats what it was sent, or issues for another backend. */
export async function startHostileAuthorizationServer(
  t: Lifetime,
  random: Random,
  ledger: Ledger,
  /** The backends by their resources. */
  backends: ReadonlyMap<string, string>,
  /** Checks the client secret of a token request. */
  checkSecret: (secret: string) => void,
) {
  const fake: FakeAuthorizationServer = await startFakeAuthorizationServer(t);
  const server = {
    tokenEndpoint: fake.tokenEndpoint,
    /** False: it issues what it is asked for. */
    misbehaves: true,
    /** Tokens that it issued. */
    issued: 0,
  };

  const issue = ({ form }: TokenRequest, resource = form.get('resource') ?? ''): Behaviour => {
    const subject = form.get('subject_token');
    const found = subject === null ? undefined : ledger.find(subject);
    const backend = backends.get(resource);
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
    const value = random.pick(sent);
    return { kind: 'issue', accessToken: random.chance(0.5) ? value : `Bearer ${value}` };
  };

  const misbehave = (request: TokenRequest): Behaviour => {
    const form = request.form.toString();
    const wrong = () => issue(request, random.pick([...backends.keys()]));
    const error = { error: 'invalid_request', error_description: form };
    const ways: readonly (() => Behaviour)[] = [
      () => repeat(request),
      () => repeat(request),
      wrong,
      wrong,
      () => refuse('invalid_grant'),
      () => refuse('invalid_target'),
      () => ({ kind: 'response', status: 500, body: form }),
      () => ({ kind: 'response', status: 429, headers: { 'retry-after': '1' }, body: { error: 'slow_down' } }),
      () => ({ kind: 'reset' }),
      () => ({ kind: 'hang' }),
      () => ({ kind: 'huge', bytes: 2_000_000 }),
      () => ({ kind: 'drip', intervalMs: 50 }),
      () => ({ kind: 'response', status: 307, headers: { location: `${fake.tokenEndpoint}?${form}` } }),
      () => ({ kind: 'response', status: 400, body: error }),
    ];
    return random.pick(ways)();
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
