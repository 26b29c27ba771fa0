import assert from 'node:assert/strict';
import { describeError, type ErrorCode } from '../../src/errors.ts';
import type { CallResponse } from './http-call.ts';

/** Checks that a response is exactly the problem document of this code: status, media type and fields. */
export function assertProblem(response: CallResponse, code: ErrorCode): void {
  const { status, title, detail } = describeError(code);
  const { request_id: requestId, ...fields } = JSON.parse(response.text) as Record<string, unknown>;
  assert.deepEqual(fields, { type: `urn:cambist:error:${code}`, title, status, detail, code });
  assert.equal(response.status, status);
  assert.equal(response.headers['content-type'], 'application/problem+json');
  assert.equal(response.headers['x-request-id'], requestId);
  assert.match(String(requestId), /^[A-Za-z0-9._:-]{1,128}$/);
}
