import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { assertionFrom } from '../../../src/config/used-servers.ts';
import { buildTokenRequest, ownTarget } from '../../../src/tokens/token-request.ts';
import { installVendorSdks } from '../installs.ts';

/** Compares the token requests of recipes with those of the vendors' own SDKs, which send nothing: their transport is the test's. */

type Calls<Name extends string> = Readonly<Record<Name, (request: object) => Promise<unknown>>>;

/** The parts of the SDKs that the test uses. Their own types are not installed with the project. */
interface Sdks {
  readonly AuthenticationClient: new (options: object) => { readonly oauth: Calls<'tokenForConnection'> };
  readonly ConfidentialClientApplication: new (
    options: object,
  ) => Calls<'acquireTokenByClientCredential' | 'acquireTokenOnBehalfOf'>;
}

const load = createRequire(join(await installVendorSdks(), 'package.json'));

const SUBJECT = 'eyJhbGciOiJub25lIn0.e30.of-the-caller';
const ASSERTION = 'eyJhbGciOiJub25lIn0.e30.client-assertion';

function recipe(name: string) {
  const text = readFileSync(new URL(`../../../config/${name}.yaml`, import.meta.url), 'utf8');
  const { config } = parseConfig(text, name);
  assert.ok(config !== undefined && parse(text).version === 1);
  const [route] = config.routes;
  assert.ok(route?.credential.kind === 'exchange');
  return { server: route.credential.authorizationServer, target: route.credential.target, route };
}

const formOf = (...request: Parameters<typeof buildTokenRequest>) =>
  buildTokenRequest(...request).map(({ name, value }) => [name, value]);

test('requests a token from Auth0 Token Vault as the SDK of Auth0 does', async () => {
  const { server, target, route } = recipe('auth0-token-vault');
  const { AuthenticationClient } = load('auth0/legacy') as Sdks;
  const sent: { url: string; headers: Headers; form: URLSearchParams }[] = [];
  const client = new AuthenticationClient({
    domain: new URL(server.issuer ?? '').host,
    clientId: server.clientId,
    clientSecret: 'secret',
    fetch: async (url: string, { body, headers }: RequestInit) => {
      sent.push({ url: String(url), headers: new Headers(headers), form: new URLSearchParams(String(body)) });
      return new Response(JSON.stringify({ access_token: 'gho', token_type: 'Bearer' }), {
        headers: { 'content-type': 'application/json' },
      });
    },
  });
  await client.oauth.tokenForConnection({
    connection: target.connection,
    subject_token: SUBJECT,
    subject_token_type: route.subjectToken.type,
  });
  const [request] = sent;
  assert.equal(request?.url, `${server.issuer}oauth/token`);
  assert.match(request?.headers.get('content-type') ?? '', /^application\/x-www-form-urlencoded/);
  const grant = { kind: 'token_vault', subjectToken: SUBJECT, subjectTokenType: route.subjectToken.type } as const;
  const own = [
    ...formOf(grant, target, server),
    // This method of the SDK, unlike its others, leaves client_id out. Auth0 documents it as required.
    ['client_secret', 'secret'],
  ];
  assert.deepEqual(own.toSorted(), [...(request?.form ?? [])].toSorted());
});

/** Fields for statistics and for ID tokens, which no access token depends on. */
const MSAL_EXTRAS = /^x-|^client_info$|^client-request-id$|^response_type$|^claims$/;

interface Sent {
  readonly url: string;
  readonly form: URLSearchParams;
}

const TENANT = 'https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555';

/** MSAL for one client, whose requests the test receives. */
function msalClient(clientId: string, auth: object, sent: Sent[]) {
  const { ConfidentialClientApplication } = load('@azure/msal-node') as Sdks;
  const metadata = {
    issuer: `${TENANT}/v2.0`,
    token_endpoint: `${TENANT}/oauth2/v2.0/token`,
    authorization_endpoint: `${TENANT}/oauth2/v2.0/authorize`,
    jwks_uri: `${TENANT}/discovery/v2.0/keys`,
  };
  const respond = (body: object) => ({ status: 200, headers: {}, body });
  return new ConfidentialClientApplication({
    auth: { clientId, authority: TENANT, authorityMetadata: JSON.stringify(metadata), ...auth },
    system: {
      networkClient: {
        sendGetRequestAsync: async () => respond(metadata),
        sendPostRequestAsync: async (url: string, { body }: { body: string }) => {
          sent.push({ url, form: new URLSearchParams(body) });
          return respond({ access_token: ASSERTION, token_type: 'Bearer', expires_in: 3599 });
        },
      },
    },
  });
}

/** The fields of an MSAL request that matter. MSAL adds the scopes of OpenID to those of the caller. */
function fieldsOf({ form }: Sent): string[][] {
  return [...form]
    .filter(([name]) => !MSAL_EXTRAS.test(name))
    .map(([name, value]) => (name === 'scope' ? [name, value.split(' ')[0] ?? ''] : [name, value]))
    .toSorted();
}

test('requests the token of a blueprint and of its agent identity as MSAL does', async () => {
  const { server, target } = recipe('entra-agent');
  const from = assertionFrom(server);
  assert.ok(from !== undefined);
  const blueprint = from.authorizationServer;
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  const asserted = (id: string | undefined) => [
    ['client_id', id ?? ''],
    ['client_assertion', ASSERTION],
    ['client_assertion_type', type],
  ];

  const first: Sent[] = [];
  const parent = msalClient(blueprint.clientId ?? '', { clientAssertion: ASSERTION }, first);
  await parent.acquireTokenByClientCredential({ scopes: [from.scope], fmiPath: server.clientId });
  const [vouching] = first;
  assert.ok(vouching !== undefined);
  const ownFirst = formOf({ kind: 'client_credentials' }, ownTarget(from.scope), blueprint);
  assert.deepEqual([...ownFirst, ...asserted(blueprint.clientId)].toSorted(), fieldsOf(vouching));

  const second: Sent[] = [];
  const agent = msalClient(server.clientId ?? '', { clientAssertion: ASSERTION }, second);
  await agent.acquireTokenOnBehalfOf({ scopes: [target.scope], oboAssertion: SUBJECT });
  const [exchange] = second;
  assert.ok(exchange !== undefined);
  const ownSecond = formOf({ kind: 'jwt_bearer', assertion: SUBJECT, from: 'caller' }, target, server);
  assert.deepEqual([...ownSecond, ...asserted(server.clientId)].toSorted(), fieldsOf(exchange));
  assert.equal(exchange.url.split('?')[0], `${TENANT}/oauth2/v2.0/token`);
});
