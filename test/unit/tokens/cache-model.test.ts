import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Route } from '../../../src/config/route.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import type { Lookup } from '../../../src/tokens/broker.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { Subject } from '../../../src/tokens/subject.ts';
import { propertyRuns } from '../../harness/property-runs.ts';
import { exchangeOf, jwtOf, routeOf, serverOf, settle, subjectOf, targetOf } from './sample.ts';
import { bearerOf, refusalOf, type ScriptedRequest, setUpBroker, tokenOf } from './scripted-endpoint.ts';

const MAX_AGE_MS = 300_000;
const UNKNOWN_LIFETIME_MS = 60_000;
const REFUSAL_MS = 10_000;
const REFUSALS: readonly ErrorCode[] = ['ERR_SUBJECT_TOKEN_INVALID', 'ERR_EXCHANGE_REFUSED'];

/** The lifetimes of the callers' tokens. A caller gets a new one when the previous one expires. */
const LIFETIMES_MS = { alice: 1e12, bob: 400_000, carol: 60_000 };

const github = exchangeOf({ target: targetOf({ expectAudience: ['backend'] }) });
const docs = targetOf({ audience: ['docs'], expectAudience: ['backend'] });
/** Two routes for one resource, one for another resource, and one with a token of cambist itself. */
const ROUTES = {
  github: routeOf({ name: 'github', credential: github }),
  same: routeOf({ name: 'same', credential: github }),
  docs: routeOf({ name: 'docs', credential: exchangeOf({ target: docs }) }),
  own: routeOf({ credential: { kind: 'client_credentials', authorizationServer: serverOf(), target: docs } }),
};

/** An issued token, and everything that decides who may get it. */
interface Issue {
  /** The sessions that may use it. */
  readonly keys: Set<string>;
  /** The sessions whose backend refused it. */
  readonly refusedIn: Set<string>;
  /** Last use by the monotonic and the wall clock. */
  readonly untilMs: number;
  readonly wallUntilMs: number;
}

interface Flight extends Requester {
  readonly request: ScriptedRequest;
  readonly sentMs: number;
  readonly waiting: Lookup[];
  /** Its session is over, and no other request waits for it. */
  isOver: boolean;
}

/** A session of a caller on a route. */
interface Requester {
  readonly key: string;
  readonly caller: string;
  readonly resource: string;
  readonly subject: Subject;
  readonly route: Route;
  readonly id: string | undefined;
}

type Response =
  | { readonly expiresIn: number | 'unknown'; readonly exp: number | undefined; readonly audience: string }
  | ErrorCode;
type Who = {
  readonly name: keyof typeof LIFETIMES_MS;
  readonly id: string | undefined;
  readonly on: keyof typeof ROUTES;
};

/** A broker, and a record of each token, exchange and refusal. */
function setUp(bound: number, random: number) {
  const setup = setUpBroker({ maxEntries: bound, maxAgeMs: MAX_AGE_MS });
  setup.random = random;
  const { broker, cache, clock, requests, outcomes } = setup;
  const startMs = clock.wallMs();
  const limit = { bound };
  const issued = new Map<string, Issue>();
  const flights = new Map<string, Flight>();
  const refusals = new Map<string, { readonly code: ErrorCode; readonly atMs: number }>();
  /** The last token of each session. */
  const given = new Map<string, IssuedToken>();

  const issueOf = (token: IssuedToken): Issue =>
    issued.get(token.authorization.reveal()) ?? assert.fail('no server issued this token');

  function requesterOf({ name, id, on }: Who): Requester {
    const lifetimeMs = LIFETIMES_MS[name];
    const number = Math.floor((clock.wallMs() - startMs) / lifetimeMs);
    const caller = `${name}-${number}`;
    const subject = subjectOf(caller, startMs + (number + 1) * lifetimeMs);
    const resource = on === 'same' ? 'github' : on;
    const own = { key: 'own', caller: 'cambist' };
    const named = { key: JSON.stringify([caller, id ?? null, resource]), caller };
    return { ...(on === 'own' ? own : named), resource, subject, route: ROUTES[on], id };
  }

  function assertUsable(token: IssuedToken, key: string): void {
    const issue = issueOf(token);
    assert.ok(issue.keys.has(key), 'the token was issued for another session');
    assert.ok(!issue.refusedIn.has(key), 'the backend refused the token');
    assert.ok(clock.monotonicMs() < issue.untilMs && clock.wallMs() < issue.wallUntilMs, 'the token is expired');
  }

  /** Compares a lookup, and the token requests that it starts, with the record. */
  async function lookUp(who: Requester): Promise<void> {
    const { key, caller, resource, subject, route, id } = who;
    const before = requests.length;
    const lookup = broker.lookUp(route, { subject, id });
    await settle();
    const [request, ...others] = requests.slice(before);
    const flight = flights.get(key);
    assert.equal(others.length, 0);
    if (request !== undefined) {
      assert.equal(flight, undefined, 'an exchange was in flight already');
      const { grant } = request;
      if (key === 'own') assert.equal(grant.kind, 'client_credentials');
      else assert.equal(grant.kind === 'token_exchange' && grant.subjectToken, subject.token.reveal());
      flights.set(key, { ...who, request, sentMs: clock.monotonicMs(), waiting: [], isOver: false });
    }
    if (lookup.result === 'hit') {
      assertUsable(lookup.token, key);
      given.set(key, lookup.token);
    } else if (lookup.result === 'negative') {
      const { code, atMs } = refusals.get(`${caller} ${resource}`) ?? assert.fail('no server refused this');
      assert.ok(lookup.error.code === code && clock.monotonicMs() - atMs <= REFUSAL_MS, code);
    } else {
      const joined = flights.get(key) ?? assert.fail(`no exchange is in flight after a ${lookup.result}`);
      assert.equal(lookup.result, request === undefined ? 'joined' : 'miss');
      joined.isOver = false;
      joined.waiting.push(lookup);
    }
  }

  /** Responds to an exchange, and compares the results of all that wait for it. */
  async function respond(flight: Flight, response: Response): Promise<void> {
    const { key, caller, resource, request, waiting } = flight;
    flights.delete(key);
    const outcome = typeof response === 'string' ? response : await issue(flight, response);
    if (typeof response === 'string') {
      await request.fail(refusalOf(response));
      if (REFUSALS.includes(response))
        refusals.set(`${caller} ${resource}`, { code: response, atMs: clock.monotonicMs() });
    }
    for (const lookup of waiting) {
      assert.equal(await bearerOf(lookup), outcome);
      if (issued.has(outcome)) given.set(key, await tokenOf(lookup));
    }
  }

  /** Issues a token. Its lifetime is computed as the documentation says. */
  async function issue(flight: Flight, { expiresIn, exp, audience }: Exclude<Response, string>): Promise<string> {
    const { caller, request, sentMs, subject } = flight;
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const text = jwtOf({ aud: audience, jti: issued.size, ...(exp !== undefined && { exp: wallMs / 1000 + exp }) });
    await request.issue(text, expiresIn);
    if (audience !== 'backend') return 'ERR_ISSUED_TOKEN_AUDIENCE';
    if (exp !== undefined && exp <= -5) return 'ERR_STS_RESPONSE_INVALID';
    const subjectMs = caller === 'cambist' ? Infinity : (subject.expiresAtMs ?? Infinity) - wallMs;
    const expMs = exp === undefined ? Infinity : 1000 * exp;
    const unknownMs = exp === undefined ? sentMs + UNKNOWN_LIFETIME_MS : Infinity;
    const statedMs = expiresIn === 'unknown' ? unknownMs : sentMs + 1000 * expiresIn;
    const limitMs = Math.min(statedMs, nowMs + expMs, nowMs + subjectMs, sentMs + MAX_AGE_MS);
    issued.set(`Bearer ${text}`, {
      keys: new Set(flight.isOver ? [] : [flight.key]),
      refusedIn: new Set(),
      untilMs: limitMs - Math.min(15_000, 0.2 * Math.max(0, limitMs - nowMs)),
      wallUntilMs: wallMs + Math.min(expMs, subjectMs),
    });
    return `Bearer ${text}`;
  }

  return {
    clock,
    cache,
    flights,
    requesterOf,
    lookUp,
    respond,
    refuse({ key, route, subject, id }: Requester): void {
      const token = given.get(key);
      if (token !== undefined && broker.dropRefused(route, { subject, id }, token)) issueOf(token).refusedIn.add(key);
    },
    open({ key, route, subject }: Requester, opened: Requester): void {
      const token = given.get(key);
      if (token === undefined || opened.id === undefined) return;
      broker.openSession(route, { subject, id: undefined }, opened.id, token);
      if (issueOf(token).refusedIn.size === 0) issueOf(token).keys.add(opened.key);
    },
    end({ key, route, subject, id }: Requester): void {
      broker.endSession(route, { subject, id }, 'client');
      if (key === 'own' || id === undefined) return;
      for (const { keys } of issued.values()) keys.delete(key);
      const flight = flights.get(key);
      if (flight !== undefined) flight.isOver = true;
    },
    resize(bound: number): void {
      limit.bound = bound;
      cache.resize(bound);
    },
    assertBounds(): void {
      assert.ok(cache.size <= limit.bound, `${cache.size} entries exceed the bound ${limit.bound}`);
      assert.equal(requests.length - outcomes.length, flights.size, 'one exchange in flight for each key that waits');
    },
  };
}

type World = ReturnType<typeof setUp>;
type Step = (world: World) => Promise<void> | void;

/** A step that a failure shows by its name. */
const named = (name: string, value: unknown, run: Step): Step =>
  Object.assign(run, { toString: () => `${name}(${JSON.stringify(value)})` });

/** Chooses the first value more often, so that callers meet. */
const mostly = <T>(first: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.constantFrom(...others.flatMap(() => [first, first]), first, ...others);

const who: fc.Arbitrary<Who> = fc.record({
  name: mostly<Who['name']>('alice', 'bob', 'carol'),
  id: fc.constantFrom(undefined, undefined, 's1', 's1', 's2'),
  on: mostly<Who['on']>('github', 'same', 'docs', 'own'),
});
const response: fc.Arbitrary<Response> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      expiresIn: mostly<number | 'unknown'>(60, 5, 3600, 'unknown', 0),
      exp: mostly(undefined, 3600, 60, -60),
      audience: fc.constantFrom(...Array<string>(12).fill('backend'), 'elsewhere'),
    }),
  },
  { weight: 1, arbitrary: fc.constantFrom<ErrorCode[]>(...REFUSALS, 'ERR_STS_UNAVAILABLE', 'ERR_CLIENT_REFUSED') },
);
const lookUp = fc.record({ who, immediate: fc.option(response, { freq: 3 }) }).map((value) =>
  named('lookUp', value, async (world) => {
    const requester = world.requesterOf(value.who);
    await world.lookUp(requester);
    const flight = world.flights.get(requester.key);
    if (flight !== undefined && value.immediate !== null) await world.respond(flight, value.immediate);
  }),
);
const respond = fc.record({ pick: fc.nat(), response }).map((value) =>
  named('respond', value, async (world) => {
    const flight = [...world.flights.values()][value.pick % world.flights.size];
    if (flight !== undefined) await world.respond(flight, value.response);
  }),
);
const session = fc.record({ who, id: mostly('s1', 's2') });
const report = fc.oneof(
  who.map((value) => named('refuse', value, (world) => world.refuse(world.requesterOf(value)))),
  session.map(({ who: from, id }) =>
    named('open', { from, id }, (world) =>
      world.open(world.requesterOf({ ...from, id: undefined }), world.requesterOf({ ...from, id })),
    ),
  ),
  session.map(({ who: of, id }) => named('end', { of, id }, (world) => world.end(world.requesterOf({ ...of, id })))),
);
const advance = fc
  .oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 60_000 }))
  .map((ms) => named('advance', ms, ({ clock }) => clock.advance(ms)));
const rare = fc.oneof(
  fc.integer({ min: -60_000, max: 60_000 }).map((ms) => named('jumpWall', ms, ({ clock }) => clock.jumpWall(ms))),
  fc.constant(named('sweep', undefined, ({ cache }) => cache.sweep())),
  fc.integer({ min: 1, max: 60 }).map((bound) => named('resize', bound, (world) => world.resize(bound))),
);
const steps = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: lookUp },
    { weight: 3, arbitrary: respond },
    { weight: 4, arbitrary: advance },
    { weight: 6, arbitrary: report },
    { weight: 1, arbitrary: rare },
  ),
  { maxLength: 200, size: 'max' },
);

test('gives a token to its session alone, while it may be used, and shares one exchange, whatever happens', async () => {
  const bounds = fc.constantFrom(1, 3, 8, 60, 60);
  await fc.assert(
    fc.asyncProperty(bounds, fc.double({ min: 0, max: 1, noNaN: true }), steps, async (bound, random, events) => {
      const world = setUp(bound, random);
      for (const event of events) {
        await event(world);
        await settle();
        world.assertBounds();
      }
      // No caller is left waiting.
      for (const flight of world.flights.values()) await world.respond(flight, 'ERR_STS_UNAVAILABLE');
    }),
    { numRuns: propertyRuns(200) },
  );
});
