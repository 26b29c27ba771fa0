import assert from 'node:assert/strict';
import { CambistError } from '../../../src/errors.ts';
import { formField, sentInBasic } from '../../../src/tokens/sent-values.ts';
import { asksForNonce, processTokenResponse } from '../../../src/tokens/token-response.ts';

const SUBJECT = 'subject-token-of-alice-0123456789';
const SECRET = 'client-secret-0123456789';
const SENT = [
  formField('subject_token', SUBJECT),
  formField('resource', 'https://backend.example.com'),
  ...sentInBasic(Buffer.from(`cambist:${SECRET}`).toString('base64')),
];
const KINDS = ['bearer', 'bearer_or_dpop', 'assertion'] as const;

/** No response makes a token of what was sent, nor repeats it in an error. Input: two bytes of choices, and a body, in which
 * `$T` stands for the subject token and `$S` for the client secret. */
export function fuzz(data: Buffer): void {
  const [first = 0, second = 0] = data;
  const text = data.subarray(2).toString('utf8').replaceAll('$T', SUBJECT).replaceAll('$S', SECRET);
  const response = {
    status: [200, 400, 401, 403, 429, 503, 201][first % 7] ?? 200,
    retryAfter: text.slice(0, 40),
    text,
  };
  const expected = {
    serverName: 'main',
    credentialOwner: second % 2 === 0 ? 'caller' : 'cambist',
    actsForUser: true,
    consent: undefined,
    requestedTokenType: undefined,
    kind: KINDS[second % 3] ?? 'bearer',
    sent: SENT,
  } as const;
  asksForNonce(response);
  try {
    const { accessToken, expiresInSeconds = 0 } = processTokenResponse(response, expected, 0);
    assert.equal(response.status, 200);
    assert.match(accessToken, /^[A-Za-z0-9._~+/-]+=*$/);
    assert.ok(Number.isFinite(expiresInSeconds));
    for (const secret of [SUBJECT, SECRET])
      assert.ok(!accessToken.includes(secret), 'a credential is accepted as a token');
  } catch (error) {
    if (!(error instanceof CambistError)) throw error;
    const shown = `${error.message} ${JSON.stringify(error)}`;
    for (const secret of [SUBJECT, SECRET])
      assert.ok(!shown.includes(secret), `an error repeats a credential: ${shown}`);
    assert.ok(shown.length < 3000, 'an error is long');
  }
}
