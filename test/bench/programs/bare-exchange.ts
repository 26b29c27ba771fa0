import { type Dispatcher, request } from 'undici';

const CLIENT = Buffer.from('cambist:a+secret+for+the+bench').toString('base64');
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:access_token';

/**
 * A minimal token exchange (RFC 8693): sends the same request as cambist and parses the response. It has no limits, no checks
 * and no cache.
 * @param authorization the caller's `Authorization`
 * @returns the `Authorization` for the upstream
 */
export async function exchange(
  tokenEndpoint: string,
  authorization: string,
  resource: string,
  dispatcher: Dispatcher,
): Promise<string> {
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: authorization.replace('Bearer ', ''),
    subject_token_type: TOKEN_TYPE,
    resource,
  });
  const response = await request(tokenEndpoint, {
    method: 'POST',
    headers: {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `Basic ${CLIENT}`,
    },
    body: form.toString(),
    dispatcher,
  });
  const { access_token: token } = (await response.body.json()) as { access_token: string };
  return `Bearer ${token}`;
}
