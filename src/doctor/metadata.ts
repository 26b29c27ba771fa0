import type { AuthorizationServer } from '../config/config.ts';
import { mayUsePlainHttp } from '../config/plain-http.ts';
import { type Finding, fine, printable, problem, warning } from './finding.ts';
import { answerOf, type Observation } from './observation.ts';

const GRANT_TYPES = {
  token_exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
  jwt_bearer: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
} as const;

/**
 * What the answers to the requests for a server's metadata mean. Pure.
 * @param grant what the server is to be asked for; undefined: for tokens of our own alone
 * @param why the program's own verdict; undefined where it found what it needs
 */
export function metadataFindings(
  server: AuthorizationServer,
  grant: keyof typeof GRANT_TYPES | undefined,
  answers: readonly Observation[],
  why: string | undefined,
): Finding[] {
  if (why === undefined) return foundFindings(server, grant, answers);
  const documents = answers.filter((answer) => answer.status === 200 && isObject(answer));
  const other = documents.find((answer) => answerOf(answer).issuer !== server.issuer);
  if (other !== undefined) return [mismatch(server, other)];
  const [document] = documents;
  if (document !== undefined) return [unusableEndpoint(server, document, why)];
  const html = answers.find(({ status }) => status === 200);
  if (html !== undefined) {
    return [
      problem('metadata_unusable', `${html.url} answers 200, and not with JSON`, {
        why: 'some servers answer any address with a web page',
        mend: `${checkIssuer(server)}, or set token_endpoint, with which nothing is discovered`,
      }),
    ];
  }
  const places = answers.map(({ url, status }) => `${url} (${status ?? 'no answer'})`).join(', ');
  return [
    problem('metadata_not_found', `no metadata at ${places}`, {
      why: 'the issuer may lack a part of its path, as /realms/<realm> at Keycloak or /application/o/<slug>/ at authentik',
      mend: `${checkIssuer(server)}, or set token_endpoint, with which nothing is discovered`,
    }),
  ];
}

/** Where the metadata came from, and what in it speaks against this config. */
function foundFindings(
  server: AuthorizationServer,
  grant: keyof typeof GRANT_TYPES | undefined,
  answers: readonly Observation[],
): Finding[] {
  const found = answers.findLast(({ status }) => status === 200);
  if (found === undefined) return [];
  const document = answerOf(found);
  const endpoint = printable(String(document.token_endpoint));
  const findings = [fine('metadata_found', `metadata at ${found.url}; its token endpoint is ${endpoint}`)];
  const grants = listOf(document.grant_types_supported);
  if (grant !== undefined && grants?.includes(GRANT_TYPES[grant]) === false) {
    findings.push(
      warning('grant_not_advertised', `the metadata does not list the grant ${GRANT_TYPES[grant]}`, {
        why: 'some servers list it only where it is switched on for the whole server, some never do',
        mend: 'switch token exchange on at the server, or set grant to one that it lists',
      }),
    );
  }
  const methods = listOf(document.token_endpoint_auth_methods_supported);
  const { method } = server.clientAuth;
  // An assertion that others made is, to the server, a signed one like any other.
  const asked = method === 'client_assertion' ? 'private_key_jwt' : method;
  if (methods?.includes(asked) === false) {
    findings.push(
      warning('auth_method_not_advertised', `the metadata does not list the client authentication "${asked}"`, {
        why: `it lists ${printable(methods.join(', '))}`,
        mend: `set ${place(server)}.client_auth.method to one of these`,
      }),
    );
  }
  return findings;
}

function mismatch(server: AuthorizationServer, answer: Observation): Finding {
  const { issuer } = answerOf(answer);
  const named = typeof issuer === 'string' ? issuer : '';
  const slashOnly = named.replace(/\/$/, '') === server.issuer?.replace(/\/$/, '');
  return problem(
    'issuer_mismatch',
    `${answer.url} is of issuer "${printable(named)}", and the config says "${server.issuer}"`,
    {
      why: slashOnly
        ? 'they differ in the slash at the end; RFC 8414 wants them identical'
        : 'the server is reached by another name than it calls itself, or this is another server',
      mend: `set ${place(server)}.issuer to "${printable(named)}", or make the server call itself what the config says (Keycloak: its hostname setting)`,
    },
  );
}

function unusableEndpoint(server: AuthorizationServer, answer: Observation, why: string): Finding {
  const { token_endpoint: endpoint } = answerOf(answer);
  const url = typeof endpoint === 'string' && URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url?.protocol !== 'http:' || mayUsePlainHttp(url.hostname)) {
    return problem('metadata_unusable', `the metadata at ${answer.url} is of no use: ${why}`, {
      mend: `set ${place(server)}.token_endpoint, with which nothing is discovered`,
    });
  }
  return problem('token_endpoint_insecure', `the token endpoint is plain http: ${printable(String(endpoint))}`, {
    why: 'client secret and tokens would cross the network in clear; behind a TLS proxy a server often does not know its own scheme',
    mend: `make the server publish its https address, or set ${place(server)}.allow_insecure_http: true if that network is trusted`,
  });
}

function checkIssuer(server: AuthorizationServer): string {
  return `check ${place(server)}.issuer ("${server.issuer}")`;
}

/** Where a server stands in the config. */
export function place(server: AuthorizationServer): string {
  return `authorization_servers.${server.name}`;
}

function isObject({ text }: Observation): boolean {
  return text.trimStart().startsWith('{');
}

function listOf(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : undefined;
}
