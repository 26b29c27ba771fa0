import assert from 'node:assert/strict';
import { describeError, type ErrorCode } from '../../src/error-catalogue.ts';
import { CambistError, detailOf } from '../../src/errors.ts';
import type { CallResponse } from './http-call.ts';

/**
 * Checks that a response is exactly the problem of this code: status, media type and fields. The response to an MCP POST is a
 * JSON-RPC error, which has the problem as `data`.
 */
export function assertProblem(response: CallResponse, code: ErrorCode): void {
  const { status, title } = describeError(code);
  const { request_id: requestId, ...fields } = problemOf(response);
  assert.deepEqual(fields, { type: `urn:cambist:error:${code}`, title, status, detail: detailFor(code, fields), code });
  assert.equal(response.status, status);
  assert.equal(response.headers['x-request-id'], requestId);
  assert.match(String(requestId), /^[A-Za-z0-9._:-]{1,128}$/);
}

/** The members of the problem in a response, whichever form it has. */
export function problemOf({ headers, text }: Pick<CallResponse, 'headers' | 'text'>): Record<string, unknown> {
  if (headers['content-type'] === 'application/problem+json') return JSON.parse(text);
  assert.equal(headers['content-type'], 'application/json');
  const { jsonrpc, id, error, ...others } = JSON.parse(text);
  const number = error.data.code === 'ERR_HEADER_MISMATCH' ? -32020 : -32010;
  assert.deepEqual([jsonrpc, error.code, others], ['2.0', number, {}]);
  assert.ok(id === undefined || id === null || ['string', 'number'].includes(typeof id));
  assert.equal(error.message, `${error.data.code}: ${error.data.detail}`);
  return error.data;
}

/** The 401 for an expired token says so. */
function detailFor(code: ErrorCode, { detail }: Record<string, unknown>): string {
  const expired = detailOf(new CambistError(code, '', { expired: true }));
  return code === 'ERR_SUBJECT_TOKEN_INVALID' && detail === expired ? expired : describeError(code).detail;
}
