import assert from 'node:assert/strict';
import { describeError, type ErrorCode } from '../../src/errors.ts';
import type { CallAnswer } from './http-call.ts';

/** Holds an answer to be exactly the problem of this code: status, media type, fields, and nothing beside them. */
export function assertProblem(answer: CallAnswer, code: ErrorCode): void {
  const { status, title, detail } = describeError(code);
  const { request_id: requestId, ...fields } = JSON.parse(answer.text) as Record<string, unknown>;
  assert.deepEqual(fields, { type: `urn:cambist:error:${code}`, title, status, detail, code });
  assert.equal(answer.status, status);
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  assert.equal(answer.headers['x-request-id'], requestId);
  assert.match(String(requestId), /^[A-Za-z0-9._:-]{1,128}$/);
}
