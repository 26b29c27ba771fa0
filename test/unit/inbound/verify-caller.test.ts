import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import { CambistError } from '../../../src/errors.ts';
import { verifyCaller } from '../../../src/inbound/verify-caller.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { createSubjectReader } from '../../../src/tokens/subject.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

function tokenFor(expSeconds: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'ES256' })}.${part({ exp: expSeconds })}.c2ln`;
}

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
  const handles = { drop() {} };
  const options = {
    handles,
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
  const token = tokenFor(clock.wallMs() / 1000 + 60);
  return { clock, setup, verified, verify, token, headers: ['Authorization', `Bearer ${token}`] };
}

test('returns a token that is known at once, and any other after its check', async () => {
  const known = start();
  const subject = known.verify(known.headers);
  assert.ok(!(subject instanceof Promise));
  assert.equal(subject.token.reveal(), known.token);
  const other = start(Promise.resolve());
  const checking = other.verify(other.headers);
  assert.ok(checking instanceof Promise);
  assert.equal((await checking).token.reveal(), other.token);
  assert.deepEqual(other.verified, [other.token]);
});

test('refuses a token at its exp, without leeway, also if it expired during the check', async () => {
  const { clock, verify, headers } = start();
  clock.advance(60_000);
  assert.throws(() => verify(headers), { code: 'ERR_SUBJECT_TOKEN_INVALID' });
  let done = () => {};
  const slow = start(
    new Promise((resolve) => {
      done = resolve;
    }),
  );
  const checking = slow.verify(slow.headers);
  slow.clock.advance(60_000);
  done();
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
