import { CambistError } from '../../../src/errors.ts';
import { type ExpectedResponse, processTokenResponse } from '../../../src/tokens/token-response.ts';
import { expectedResponse } from './sample.ts';

export function read(
  body: unknown,
  {
    status = 200,
    credentialOwner = 'caller',
    requested,
    ...more
  }: { status?: number; requested?: string } & Partial<Pick<ExpectedResponse, 'credentialOwner' | 'sent'>> = {},
) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return processTokenResponse(
    { status, retryAfter: undefined, text },
    expectedResponse({ credentialOwner, requestedTokenType: requested, ...more }),
    0,
  );
}

export function errorOf(run: () => unknown): CambistError {
  try {
    run();
  } catch (error) {
    if (error instanceof CambistError) return error;
  }
  throw new Error('expected a CambistError');
}
