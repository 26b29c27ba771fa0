import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import { CambistError } from '../../../src/errors.ts';
import { handleMembers, withHandle, withoutSecrets } from '../../../src/inbound/baggage.ts';
import { handleText } from '../../../src/inbound/handle-text.ts';
import { claimHeaders, isOpen } from '../../../src/inbound/rules.ts';
import { verifyCaller } from '../../../src/inbound/verify-caller.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { createSubjectReader } from '../../../src/tokens/subject.ts';
import { fuzz } from '../../fuzz/targets/handles.ts';
import { deferred } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { words } from '../../harness/words.ts';
import { jwtOf } from '../tokens/sample.ts';

const headerOf = (value: unknown) => claimHeaders({ claim: value } as never, [['x-claim', 'claim']])[1];

test('sends texts, numbers, booleans and lists of them, in which one group never looks like two', () => {
  for (const [claim, value] of [
    ['alice', 'alice'],
    [7, '7'],
    [true, 'true'],
    [['a', 'b'], 'a,b'],
    ['dev,admin', 'dev%2Cadmin'],
    [['dev,admin'], 'dev%2Cadmin'],
    [['dev,admin', 'ops'], 'dev%2Cadmin,ops'],
    ['dev%2Cadmin', 'dev%252Cadmin'],
  ] as const) {
    assert.equal(headerOf(claim), value);
  }
});

test('sends other characters as UTF-8', () => {
  assert.equal(Buffer.from(headerOf('José 李') ?? '', 'latin1').toString('utf8'), 'José 李');
});

test('leaves out claims that no header can carry', () => {
  const texts = ['a\r\nx-admin: yes', 'a\u0000', 'a\u0085b', ' admin', 'admin\u00a0'];
  for (const value of [undefined, null, {}, [], [{}], ...texts, ['a\n'], ['user', ' admin']]) {
    assert.equal(headerOf(value), undefined, JSON.stringify(value));
  }
});

test('sends no property that the token does not have', () => {
  assert.deepEqual(
    claimHeaders({}, [
      ['x-a', 'constructor'],
      ['x-b', '__proto__'],
      ['x-c', 'sub'],
    ]),
    [],
  );
  assert.deepEqual(claimHeaders(undefined, [['x-a', 'sub']]), []);
});

const OPEN = [
  { path: '/healthz', isPrefix: false },
  { path: '/public/', isPrefix: true },
];
const open = (url: string) => isOpen(parseRequestTarget(url, ['h']), OPEN);

const piece = fc.constantFrom(...words('/ healthz public . .. %2e %2F ; ? # % x %00'), '\\', ' ', '\t');

test('opens no spelling that a server could read as another path', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const url = `/${pieces.join('')}`;
      if (!open(url)) return;
      const [path = ''] = url.split('?');
      assert.ok(path === '/healthz' || path.startsWith('/public/'), url);
      // Every server reads this path as it is.
      assert.equal(new URL(path, 'http://h').pathname, path);
      assert.doesNotMatch(path, /[%;\\#\s]|\/\/|\/\.\.?(?:\/|$)/);
    }),
    { numRuns: 2000 },
  );
});

test('opens no path with an escape, which some servers decode twice', () => {
  for (const url of ['/public/%', '/public/%25', '/public/%252e%252e/', '/public/%C3%A9']) assert.ok(!open(url), url);
});

test('opens exact paths and prefixes, with any query, in origin-form and absolute-form', () => {
  for (const url of ['/healthz', '/healthz?a=/../b', '/public/', '/public/a', 'http://other/healthz'])
    assert.ok(open(url), url);
  for (const url of words('/healthz/ /healthz/x /HEALTHZ /public /publicity / * healthz http://other'))
    assert.ok(!open(url), url);
});

/** @param verifying settles when the signature is checked; undefined for a token that is known */
function start(verifying?: Promise<void>) {
  const clock = createFakeClock();
  const verified: string[] = [];
  const setup = { rules: {} as SubjectVerification, refused: undefined as SubjectVerification | undefined };
  const verifier = {
    prepare: async () => {},
    verify(subject: { readonly token: { reveal(): string } }, rules: SubjectVerification) {
      verified.push(subject.token.reveal());
      if (rules === setup.refused) throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'another audience');
      return verifying;
    },
  };
  const options = {
    handles: { drop() {} },
    reader: createSubjectReader(),
    clock,
    rules: () => setup.rules,
    verifier: verifier as never,
  };
  const verify = (headers: string[], path = '/') =>
    verifyCaller(
      {
        request: { incoming: { socket: {}, rawHeaders: headers }, record: { callerRead() {} } },
        path,
      } as unknown as Routed,
      options,
    );
  const token = jwtOf({ exp: clock.wallMs() / 1000 + 60 });
  return { clock, setup, verified, verify, token, headers: ['Authorization', `Bearer ${token}`] };
}

test('refuses a token at its exp, without leeway, also if it expired during the check', async () => {
  const { clock, verify, headers } = start();
  clock.advance(60_000);
  assert.throws(() => verify(headers), { code: 'ERR_SUBJECT_TOKEN_INVALID' });
  const { promise, resolve } = deferred<void>();
  const slow = start(promise);
  const checking = slow.verify(slow.headers);
  slow.clock.advance(60_000);
  resolve();
  await assert.rejects(async () => checking, { code: 'ERR_SUBJECT_TOKEN_INVALID' });
});

test('checks a token again by the rules that a reload brings during the check', async () => {
  const { setup, verify, verified, headers, token } = start(Promise.resolve());
  const passing = verify(headers);
  setup.rules = {} as SubjectVerification;
  assert.equal((await passing).token.reveal(), token);
  assert.equal(verified.length, 2);
  const refused = verify(headers);
  setup.rules = {} as SubjectVerification;
  setup.refused = setup.rules;
  await assert.rejects(async () => refused, { code: 'ERR_SUBJECT_TOKEN_INVALID' });
});

test('refuses a missing, repeated or misplaced token without a check', () => {
  const { verify, headers, verified, token } = start();
  assert.throws(() => verify([]), { code: 'ERR_SUBJECT_TOKEN_MISSING' });
  assert.throws(() => verify(['authorization', 'Basic eA==']), { code: 'ERR_SUBJECT_TOKEN_MISSING' });
  assert.throws(() => verify([...headers, ...headers]), { code: 'ERR_SUBJECT_TOKEN_INVALID' });
  for (const path of [`/?t=${token}`, `/?t=${token.replaceAll('.', '%2e')}`]) {
    assert.throws(() => verify(headers, path), { code: 'ERR_SUBJECT_TOKEN_INVALID' }, path);
  }
  assert.deepEqual(verified, []);
});

const HANDLE = handleText('A'.repeat(43));

test('puts the handle first and keeps other members', () => {
  assert.equal(withHandle([], HANDLE, []), `cambist=${HANDLE}`);
  assert.equal(withHandle(['a=1;p=x, b=2', 'c=3'], HANDLE, []), `cambist=${HANDLE},a=1;p=x,b=2,c=3`);
});

test('drops members that SDKs decode to the name of the handle’s member', () => {
  const names = words('cambist c%61mbist %63%61%6d%62%69%73%74 cambist+ %20cambist cambist%C2%A0');
  for (const name of [...names, ' cambist ']) {
    assert.equal(withHandle([`${name}=x`], HANDLE, []), `cambist=${HANDLE}`, name);
  }
});

test('drops malformed members, copies of a token, and whatever exceeds the limits of SDKs', () => {
  assert.equal(
    withHandle(['=x,b,a b=1,k="v",ok=1', 't=secret-token', `h=${HANDLE}-1`], HANDLE, ['secret-token']),
    `cambist=${HANDLE},ok=1`,
  );
  const many = Array.from({ length: 100 }, (_, index) => `k${index}=v`).join();
  assert.equal(withHandle([many], HANDLE, []).split(',').length, 64);
  const long = Array.from({ length: 3 }, (_, index) => `k${index}=${'x'.repeat(4000)}`).join();
  assert.equal(withHandle([long], HANDLE, []).split(',').length, 3);
});

test('keeps only members that no SDK refuses', () => {
  const kept = ['a=', 'a=%e4%bd%a0', 'a = 1 ; p = 2', 'a=1;p;q=%20', 'a=b=c', '%41=1', `a=${'x'.repeat(4094)}`];
  for (const member of kept) {
    assert.equal(withHandle([member], HANDLE, []), `cambist=${HANDLE},${member}`);
  }
  for (const member of [
    ...['x=%zz', 'x=%', 'x=%ff', 'x=%ed%a0%80', 'x%=1', 'x=1;', 'x=1;=', 'x=1;;p', 'x=1;p=%zz', 'x=1;(p)=1', '(x)=1'],
    ...[`x=${'x'.repeat(4095)}`, 'x=a\\b', 'x=é', `x=\u00a0y`, `a=${'\t'.repeat(31_000)}"`, `a=1${';'.repeat(8000)}`],
  ]) {
    assert.equal(withHandle([`${member},ok=1`], HANDLE, []), `cambist=${HANDLE},ok=1`, member.slice(0, 40));
  }
});

test('never gives the agent a second member with the name, whatever callers send', () => {
  const sent = fc.string({ unit: fc.constantFrom('c', 'cambist', '%63', '+', ' ', '=', ',', ';', '%', 'x') });
  fc.assert(fc.property(sent, (text) => fuzz(Buffer.from(text))));
});

test('finds and removes the member of the handle', () => {
  for (const member of [`cambist=${HANDLE}`, ` cambist = ${HANDLE} ;p=1`, `c%61mbist=${HANDLE.replace('_', '%5f')}`]) {
    assert.deepEqual(handleMembers(`a=1,${member},b=2`), [HANDLE]);
    assert.equal(withoutSecrets(`a=1,${member},copy=${HANDLE},t=xsecret-token,b=2`, ['secret-token']), 'a=1,b=2');
  }
  assert.equal(withoutSecrets(`cambist=${HANDLE}`, []), '');
  assert.equal(withoutSecrets(' a=1 , b=2', []), ' a=1 , b=2');
});
